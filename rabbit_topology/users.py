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

from rabbit_topology import credentials, permissions
from rabbit_topology.errors import TopologyError
from rabbit_topology.model import Permissions, Service, TopicPermissions, Topology, User
from rabbit_topology.safety import Safety


@dataclass(frozen=True, kw_only=True)
class Users:
    """Creates the users of one vhost, as children of ``parent``."""

    parent: pulumi.Resource
    prefix: str
    """Of logical names."""
    safety: Safety
    vhost: pulumi.Input[str]
    stack: str
    exchanges: Mapping[str, rabbitmq.Exchange]
    """The exchanges of the vhost that are declared here, by name."""
    seed: pulumi.Input[str] | None
    """What passwords are derived from."""
    made: list[pulumi.Resource]
    """The users made so far, in other vhosts as well: those that exist may be among them."""

    def service(self, topology: Topology, name: str) -> tuple[str, pulumi.Output[str]]:
        """Create a service's user; return its name and its password, a secret."""
        service = topology.services[name]
        user = permissions.user_name(topology, name)
        password = self._password(user, service)
        self._user(
            f"service/{name}",
            user,
            password=password,
            tags=(),
            allowed=permissions.permissions(topology, service),
            topics=permissions.topic_permissions(topology, service),
        )
        return user, password

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
    ) -> None:
        logical = f"{self.prefix}/{key}"
        user: pulumi.Input[str] = name
        before: list[pulumi.Resource] = []
        if password is None:
            before = list(self.made)
        else:
            resource = rabbitmq.User(
                logical,
                name=name,
                password=password,
                tags=list(tags) or None,
                opts=pulumi.ResourceOptions(parent=self.parent),
            )
            self.made.append(resource)
            user = resource.name
        if topics:  # the provider fails on an empty list
            declared: list[pulumi.Resource] = [
                self.exchanges[it] for it in topics if it in self.exchanges
            ]
            limits = rabbitmq.TopicPermissions(
                logical,
                user=user,
                vhost=self.vhost,
                permissions=[
                    rabbitmq.TopicPermissionsPermissionArgs(exchange=exchange, **rule.model_dump())
                    for exchange, rule in topics.items()
                ],
                # RabbitMQ 4.3 refuses those of an exchange that is not there, and drops them
                # when it is deleted: without them every routing key would be allowed.
                opts=pulumi.ResourceOptions(
                    parent=self.parent,
                    depends_on=[*declared, *before],
                    replace_with=declared,
                    delete_before_replace=True,
                ),
            )
            before = [*before, limits]  # nobody may write to a topic exchange before its limits
        if allowed:
            given = rabbitmq.Permissions(
                logical,
                user=user,
                vhost=self.vhost,
                permissions=rabbitmq.PermissionsPermissionsArgs(**allowed.model_dump()),
                opts=pulumi.ResourceOptions(
                    parent=self.parent, depends_on=before, hooks=self.safety.permissions
                ),
            )
            self.safety.watch("permissions", name, given)

    def _password(self, name: str, it: Service | User) -> pulumi.Output[str]:
        if it.password is not None:
            return pulumi.Output.secret(it.password)
        if self.seed is None:
            raise TopologyError(
                f"the password of {name} is derived from a seed, and there is none: "
                "set TopologyArgs.seed, or give it a password"
            )
        if isinstance(self.seed, str):
            credentials.check(self.seed)  # here: in the background an error has no place to go
        derived = partial(credentials.derive, stack=self.stack, user=name, rotation=it.rotation)
        return pulumi.Output.secret(pulumi.Output.from_input(self.seed).apply(derived))
