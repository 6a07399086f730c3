"""
Rules about services and users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rabbit_topology.config.words import NOT_SHOWN, NameIndex, show, suggest
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import Finding, Rule, RuleInfo, rule
from rabbit_topology.model import PREDECLARED_EXCHANGES, Rotates, Service, Topology
from rabbit_topology.services import credentials, permissions
from rabbit_topology.services.permissions import RESERVED, SERVER_NAMED


@rule("undeclared-in-service", "Access Control", "a service would wait for what does not exist")
def named(topology: Topology) -> Iterator[Problem]:
    """Yield exchanges and queues that a service names and nobody declares."""
    exchanges = NameIndex({*topology.exchanges, *PREDECLARED_EXCHANGES})
    queues = NameIndex(topology.queues)
    for name, service in topology.services.items():
        here = path("topology", "services", name)
        for index, publish in enumerate(service.publishes):
            if publish.exchange not in exchanges:
                yield _undeclared(
                    f"{here}.publishes[{index}]", publish.exchange, "exchange", exchanges
                )
            if publish.routing_key is not None and publish.routing_keys is not None:
                yield Problem(
                    path=f"{here}.publishes[{index}]",
                    value="both given",
                    rule="it has `routing_key:` or `routing_keys:`",
                    fix="put all keys under `routing_keys:`",
                )
        for index, queue in enumerate(service.consumes):
            if queue not in queues:
                yield _undeclared(f"{here}.consumes[{index}]", queue, "queue", queues)
        for index, exchange in enumerate(service.binds):
            if exchange not in exchanges:
                yield _undeclared(f"{here}.binds[{index}]", exchange, "exchange", exchanges)


@rule("service-wildcard", "Access Control", "a service gets the least that it needs")
def declared_names(topology: Topology) -> Iterator[Problem]:
    """Yield wildcards that would be no wildcard, or take everything, and names of the broker's."""
    for name, service in topology.services.items():
        for index, declared in enumerate(service.declares):
            if declared == "*" or "*" in declared[:-1]:
                yield Problem(
                    path=f"{path('topology', 'services', name)}.declares[{index}]",
                    value=show(declared),
                    rule="`*` stands at the end, after the beginning of the names",
                    fix=f'write for example "{name}.*"',
                )
            if declared.startswith(RESERVED) and not declared.startswith(SERVER_NAMED):
                yield Problem(
                    path=f"{path('topology', 'services', name)}.declares[{index}]",
                    value=show(declared),
                    rule='names that begin with "amq." are reserved for the broker',
                    fix=f'write "{SERVER_NAMED}*" for queues that the broker names',
                )


@rule(
    "service-name-shared",
    "Access Control",
    "permissions look at names: a queue and an exchange of the same name are one to them",
)
def one_name_space(topology: Topology) -> Iterator[Problem]:
    """Yield names by which a service would be allowed a queue or an exchange that it does not name.

    Who may bind to an exchange may consume a queue of the same name.
    """
    for name, service in topology.services.items():
        here = path("topology", "services", name)
        for index, exchange in enumerate(service.binds):
            if exchange in topology.queues and not _named(service, exchange, service.consumes):
                yield Problem(
                    path=f"{here}.binds[{index}]",
                    value=show(exchange),
                    rule="a queue has the same name, so it could consume and purge that",
                    fix="rename one of them, or list it under `consumes:` too if it may",
                )
        for index, queue in enumerate(service.consumes if service.declares else ()):
            if queue in topology.exchanges and not _named(service, queue, service.binds):
                yield Problem(
                    path=f"{here}.consumes[{index}]",
                    value=show(queue),
                    rule="an exchange has the same name, so it could bind its own queues to that",
                    fix="rename one of them, or list it under `binds:` too if it may",
                )


@rule("rotates-existing", "Access Control", "a user that others have made is theirs to rotate")
def rotated_users(topology: Topology) -> Iterator[Problem]:
    """Yield services whose user is there already, and that are to get others by rotation."""
    for name, service in topology.services.items():
        if service.exists and service.rotates is Rotates.USER:
            yield Problem(
                path=f"{path('topology', 'services', name)}.rotates",
                value=show(service.rotates),
                rule="its user is made by others (`exists: true`), who rotate it",
                fix="leave out `rotates:`, or `exists:`, and the stack makes its users",
            )


@rule(
    "user-twice",
    "Access Control",
    "users belong to the broker, and the second of a name would overwrite the first",
)
def across_vhosts(topologies: Mapping[str, Topology]) -> Iterator[Problem]:
    """Yield users of the same name: the second would overwrite the first.

    ``topologies`` by config path: users belong to the broker, not to a vhost.
    """
    first: dict[str, str] = {}
    for root, topology in topologies.items():
        here: dict[str, str] = {}
        for where, name, exists in _users(topology):
            one = f"{root}.{where}"
            other = here.get(name) or (None if exists else first.get(name))
            if other:
                yield Problem(
                    path=one,
                    value=show(name),
                    rule=f"{other} has a user of the same name",
                    fix="rename one, or set `username:`; of a user in two vhosts, the second "
                    "has `exists: true`",
                )
            here.setdefault(name, one)
            if not exists:
                first.setdefault(name, one)


def _users(topology: Topology) -> Iterator[tuple[str, str, bool]]:
    """Yield the users of a vhost: the path within it, the name, and whether others made it."""
    for name, user in topology.users.items():
        yield path("users", name), name, user.exists
    for name, service in topology.services.items():
        yield path("services", name), permissions.user_name(topology, name), service.exists


def _named(service: Service, name: str, names: tuple[str, ...]) -> bool:
    return name in names or permissions.declares(service, name)


def _undeclared(where: str, name: str, noun: str, known: NameIndex) -> Problem:
    return Problem(
        path=where,
        value=show(name),
        rule=f"it is not a declared {noun}",
        fix=suggest(name, known),
    )


SEED = RuleInfo(
    name="seed",
    reason="without it there are no passwords to derive",
    page="the README, Config reference",
)


def seed_problems(topologies: Mapping[str, Topology], seed: str | None) -> Iterator[Finding]:
    """Yield what is wrong with `rabbit-topology:seed`; ``topologies`` by config path."""
    without = [
        f"{root}.{path(kind, name)}"
        for root, topology in topologies.items()
        for kind, those in (("services", topology.services), ("users", topology.users))
        for name, user in those.items()
        if user.password is None and not user.exists
    ]
    many = f" and {len(without) - 3:,} more" if len(without) > 3 else ""
    fix = "pulumi config set --secret rabbit-topology:seed $(openssl rand -hex 32)"
    problem = None
    if without and seed is None:
        problem = Problem(
            path="seed",
            value="missing",
            rule=f"the passwords of {', '.join(without[:3])}{many} are derived from it",
            fix=fix,
        )
    elif seed is not None and len(seed) < credentials.MIN_SEED:
        problem = Problem(
            path="seed",
            value=NOT_SHOWN,
            rule=f"a seed has {credentials.MIN_SEED} characters or more",
            fix=fix,
        )
    if problem:
        yield Finding(rule=SEED, severity=SEED.severity, problem=problem)


OWN_USER = RuleInfo(
    name="own-user",
    reason="a stack that locks out the user it connects with can change nothing any more",
    page="Access Control",
)

_EVERYTHING = frozenset({".*", "^.*", ".*$", "^.*$"})


def own_user_problems(
    topologies: Mapping[str, Topology], username: str | None
) -> Iterator[Finding]:
    """Yield what would take the user away that the stack connects with, or what it may do.

    Args:
        topologies: By config path.
        username: The user's name; None: not known.
    """
    for root, topology in topologies.items() if username else ():
        for problem in _own_user(root, topology, str(username)):
            yield Finding(rule=OWN_USER, severity=OWN_USER.severity, problem=problem)


def _own_user(root: str, topology: Topology, username: str) -> Iterator[Problem]:
    for name, service in topology.services.items():
        if permissions.user_name(topology, name) == username:
            password = "" if service.exists else "another password and "
            yield Problem(
                path=f"{root}.{path('services', name)}",
                value=show(username),
                rule="the stack connects as this user (rabbitmq:username), and would give it "
                f"{password}the permissions of a service",
                fix="give the service another `username:`, or connect as another user",
            )
    user = topology.users.get(username)
    if user is None:
        return
    here = f"{root}.{path('users', username)}"
    if not user.exists:
        yield Problem(
            path=here,
            value=show(username),
            rule="the stack connects as this user (rabbitmq:username), and would overwrite its "
            "password and its tags",
            fix="set `exists: true`, or connect as another user",
        )
        return
    granted = user.permissions
    if granted and not {granted.configure, granted.write, granted.read} <= _EVERYTHING:
        yield Problem(
            path=f"{here}.permissions",
            value=show(granted.model_dump()),
            rule="the stack connects as this user (rabbitmq:username), and needs all permissions "
            "in its vhosts",
            fix='write ".*" for `configure`, `write` and `read`, or leave it out',
        )


RULES: tuple[Rule[Topology], ...] = (
    named,
    declared_names,
    one_name_space,
    rotated_users,
)
