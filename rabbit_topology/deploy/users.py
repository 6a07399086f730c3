"""
Users and what they may do, for services and for those written by hand.

Source: "Access Control", RabbitMQ documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import pulumi
import pulumi_rabbitmq as rabbitmq

from rabbit_topology.deploy import formers
from rabbit_topology.deploy.carried import Carried
from rabbit_topology.deploy.children import Children
from rabbit_topology.deploy.formers import Former
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import Permissions, Service, TopicPermissions, Topology, User
from rabbit_topology.services import credentials, permissions


@dataclass(frozen=True, kw_only=True)
class Users:
    """Creates the users of one vhost."""

    children: Children
    prefix: str
    """Of logical names."""
    carried: Carried
    vhost: pulumi.Input[str]
    stack: str
    exchanges: Mapping[str, rabbitmq.Exchange]
    """The exchanges of the vhost that are declared here, by name."""
    seed: pulumi.Input[str] | None
    """What passwords are derived from."""
    made: list[pulumi.Resource]
    """The users made so far, in other vhosts as well: those that exist may be among them."""
    granted: list[pulumi.Resource]
    """Everything made so far for users, permissions included, in other vhosts as well."""
    own_user: str | None = None
    """The user that the stack connects with: what it may do is never taken away. None: not known
    yet."""

    def service(self, topology: Topology, name: str) -> tuple[str, pulumi.Output[str] | None]:
        """Create a service's user, or what it may do if it exists.

        Returns:
            Its name and its password, a secret; None where others have set it, and it is not said.
        """
        service = topology.services[name]
        user = permissions.user_name(topology, name)
        unknown = service.exists and service.password is None
        password = None if unknown else self._password(user, service)
        rotation = permissions.user_rotation(service)
        self._service(topology, name, rotation, user, None if service.exists else password)
        return user, password

    def former(self, topology: Topology, one: Former) -> None:
        """Keep a user that a service had in another rotation: it may do what the service may."""
        service = topology.services[one.service].model_copy(update={"rotation": one.rotation})
        password = self._password(one.user, service)
        self._service(topology, one.service, one.rotation, one.user, password, has_password=True)

    def _service(
        self,
        topology: Topology,
        name: str,
        rotation: int,
        user: str,
        password: pulumi.Output[str] | None,
        *,
        has_password: bool = False,
    ) -> None:
        service = topology.services[name]
        self._user(
            formers.key(name, rotation),
            user,
            password=password,
            has_password=has_password,
            tags=(),
            allowed=permissions.permissions(topology, service),
            topics=permissions.topic_permissions(topology, service),
            before=f"user/{user}",
        )

    def user(self, name: str, user: User) -> None:
        """Create a user that is written by hand, or what it may do if it exists."""
        self._user(
            f"user/{name}",
            name,
            password=None if user.exists else self._password(name, user),
            tags=user.tags,
            allowed=user.permissions,
            topics=user.topic_permissions,
        )

    def _user(
        self,
        key: str,
        name: str,
        *,
        password: pulumi.Output[str] | None,
        tags: tuple[str, ...],
        allowed: Permissions | None,
        topics: Mapping[str, TopicPermissions],
        before: str | None = None,
        has_password: bool = False,
    ) -> None:
        """Create a user and what it may do.

        ``before`` is the key that it may have had so far; one that ``has_password`` keeps it.
        """
        logical = f"{self.prefix}/{key}"
        aliases = [f"{self.prefix}/{before}"] if before else []
        here = self.carried.topology.vhost
        user: pulumi.Input[str] = name
        first: list[pulumi.Resource] = []
        if password is None:
            first = list(self.made)
            known = self.children.get("user", "", name)
            if isinstance(known, rabbitmq.User):
                user = known.name  # what it may do here goes, and comes back, with the user
        else:
            resource = self.children.make(
                rabbitmq.User,
                logical,
                vhost="",
                key=name,
                aliases=aliases,
                hooks=self.carried.user,
                ignore_changes=["password"] if has_password else (),
                inputs={"name": name, "password": password, "tags": list(tags) or None},
            )
            self.made.append(resource)
            self.granted.append(resource)
            user = resource.name
        if topics:  # the provider fails on an empty list
            declared: list[pulumi.Resource] = [
                self.exchanges[topic] for topic in topics if topic in self.exchanges
            ]
            rules = [
                rabbitmq.TopicPermissionsPermissionArgs(exchange=exchange, **rule.model_dump())
                for exchange, rule in topics.items()
            ]
            limits = self.children.make(
                rabbitmq.TopicPermissions,
                logical,
                vhost=here,
                key=name,
                # RabbitMQ 4.3 refuses those of an exchange that is not there, and drops them
                # when it is deleted: without them every routing key would be allowed.
                depends_on=[*declared, *first],
                replace_with=declared,
                aliases=aliases,
                hooks=self.carried.topic_permissions,
                inputs={"user": user, "vhost": self.vhost, "permissions": rules},
            )
            self.granted.append(limits)
            first = [*first, limits]  # nobody may write to a topic exchange before its limits
        if allowed:
            given = self.children.make(
                rabbitmq.Permissions,
                logical,
                vhost=here,
                key=name,
                depends_on=first,
                aliases=aliases,
                hooks=self.carried.permissions,
                retain=self.own_user in (None, name),  # the hook deletes it, if it may
                inputs={
                    "user": user,
                    "vhost": self.vhost,
                    "permissions": rabbitmq.PermissionsPermissionsArgs(**allowed.model_dump()),
                },
            )
            self.granted.append(given)

    def _password(self, name: str, user: Service | User) -> pulumi.Output[str]:
        if user.password is not None:
            return pulumi.Output.secret(user.password)
        if self.seed is None:
            raise TopologyError(
                f"the password of {name} is derived from a seed, and there is none: "
                "set TopologyArgs.seed, or give it a password"
            )
        if isinstance(self.seed, str):
            credentials.check(self.seed)  # here: in the background an error has no place to go
        derived = partial(credentials.derive, stack=self.stack, user=name, rotation=user.rotation)
        return pulumi.Output.secret(pulumi.Output.from_input(self.seed).apply(derived))
