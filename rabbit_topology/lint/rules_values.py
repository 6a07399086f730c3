"""
Rules about text, numbers and names that would reach the broker changed, or not at all.

Each is refused here since the broker or the provider refuses it half-way through an update, or
takes something else for it without a word. What the brokers answer was tried on 3.10.8, 4.0.5 and
4.3.6.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rabbit_topology.compiler import policies, regexes
from rabbit_topology.compiler.settings import ALL, BY_KEY
from rabbit_topology.config.words import NOT_SHOWN, NameIndex, misspelt, show
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import Rule, rule
from rabbit_topology.model import DEFAULT_VHOST, SECRETS, QueueType, Topology, VhostSettings

_EXACT = 2**53
"""The provider reads arguments as floating-point numbers: beyond this they are not whole."""

_POLICY_KEYS = NameIndex(setting.key for setting in ALL if setting.in_policies)


@rule(
    "unicode-form",
    "the README, Config reference",
    "the provider writes text in the form NFC, so the broker would get another name or password",
)
def unicode_form(topology: Topology) -> Iterator[Problem]:
    """Yield text that the provider would change: letters with their accents apart."""
    for where, text in _texts(topology.model_dump(), ("topology",)):
        if not unicodedata.is_normalized("NFC", text):
            hidden = where[-1] in SECRETS
            yield Problem(
                path=path(*where),
                value=NOT_SHOWN if hidden else show(text),
                rule="it has letters and their accents apart, and would arrive with them together "
                "(Unicode NFC)",
                fix="write each letter as one character",
            )


@rule(
    "dots",
    "HTTP API Reference",
    "in the address of a request they stand for something else",
)
def dots(topology: Topology) -> Iterator[Problem]:
    """Yield names and routing keys that no request can name."""
    named: list[tuple[str, str]] = [("topology.vhost", topology.vhost)]
    for kind, value in topology:
        if isinstance(value, Mapping):
            named += [(path("topology", kind, name), name) for name in value]
    for index, binding in enumerate(topology.bindings):
        here = path("topology", "bindings", index, "routing_key")
        named += [(here, route.routing_key) for route in binding.routes()]
    for where, name in named:
        if name in (".", ".."):
            yield Problem(
                path=where,
                value=show(name),
                rule="nothing with this name can be made or deleted by way of the management API",
                fix="choose another name",
            )


@rule("null-argument", "Queues", "the broker has no such value, and refuses it")
def nulls(topology: Topology) -> Iterator[Problem]:
    """Yield arguments without a value."""
    for where, value in _arguments(topology):
        if value is None:
            yield Problem(
                path=path(*where),
                value="null",
                rule="null is not a value of an argument",
                fix="remove it",
            )


@rule(
    "large-number",
    "the README, Config reference",
    "the provider would send another number without a word",
)
def large_numbers(topology: Topology) -> Iterator[Problem]:
    """Yield whole numbers in arguments that the provider cannot send."""
    for where, value in _arguments(topology):
        if isinstance(value, int) and abs(value) > _EXACT:
            yield Problem(
                path=path(*where),
                value=show(value),
                rule="a whole number in arguments is at most 2^53, 9007199254740992",
                fix="write a smaller number, or text where it is only compared",
            )


@rule(
    "argument-value",
    "Optional Arguments",
    "the broker refuses it half-way through an update, or takes it and does nothing",
)
def argument_values(topology: Topology) -> Iterator[Problem]:
    """Yield arguments of queues with values that the broker does not take."""
    for name, queue in topology.queues.items():
        for key, value in queue.arguments.items():
            setting = BY_KEY.get(key.removeprefix("x-")) if key.startswith("x-") else None
            refusal = setting.refusal(value) if setting and value is not None else None
            if refusal:
                yield Problem(
                    path=path("topology", "queues", name, "arguments", key),
                    value=show(value),
                    rule=refusal,
                    fix="write such a value",
                )


@rule(
    "policy-key",
    "Parameters and Policies",
    "the broker refuses a policy with a key that it does not know, half-way through an update",
)
def policy_keys(topology: Topology) -> Iterator[Problem]:
    """Yield keys of policies that seem to be misspelt, and those that only arguments have."""
    for where, key, _ in _definitions(topology):
        setting = BY_KEY.get(key)
        if setting and not setting.in_policies:
            rule_, fix = "a policy cannot set it", f"write `x-{key}` in a queue's `arguments`"
        elif not setting and (meant := misspelt(key, _POLICY_KEYS)):
            rule_, fix = "the broker knows no such key", f"did you mean `{meant}`?"
        else:
            continue
        yield Problem(path=where, value=show(key), rule=rule_, fix=fix)


@rule("policy-value", "Parameters and Policies", "the broker refuses it half-way through an update")
def policy_values(topology: Topology) -> Iterator[Problem]:
    """Yield values in policies that the broker does not take."""
    for where, key, value in _definitions(topology):
        setting = BY_KEY.get(key)
        if setting is None or not setting.in_policies or not isinstance(value, str | int):
            continue
        sent = policies.as_sent(value)
        if isinstance(sent, int) and isinstance(value, str) and setting.refusal(value) is None:
            continue  # digits where text belongs, of which another rule speaks
        if refusal := setting.refusal(sent):
            yield Problem(path=where, value=show(value), rule=refusal, fix="write such a value")


@rule(
    "broken-pattern",
    "Access Control",
    "the broker refuses what is no regular expression, half-way through an update",
)
def broken_patterns(topology: Topology) -> Iterator[Problem]:
    """Yield regular expressions that are none, to Python and to Perl."""
    written: list[tuple[tuple[str, ...], str]] = []
    for kind in ("policies", "operator_policies"):
        for name, policy in getattr(topology, kind).items():
            written.append(((kind, name, "pattern"), policy.pattern))
    for name, user in topology.users.items():
        sets: dict[tuple[str, ...], Any] = {("permissions",): user.permissions}
        for exchange, allowed in user.topic_permissions.items():
            sets["topic_permissions", exchange] = allowed
        for where, allowed in sets.items():
            for what, pattern in (allowed.model_dump() if allowed else {}).items():
                written.append((("users", name, *where, what), pattern))
    for keys, pattern in written:
        if broken := regexes.broken(pattern):
            yield Problem(
                path=path("topology", *keys),
                value=show(pattern),
                rule=f"it is not a regular expression: {broken}",
                fix="write `.*` for all names, and a backslash before what stands for itself",
            )


@rule(
    "default-vhost-settings",
    "Virtual Hosts",
    "the stack does not manage the default vhost, or one that exists, only what is in it",
)
def default_vhost(topology: Topology) -> Iterator[Problem]:
    """Yield settings of a vhost that would be ignored."""
    settings = topology.vhost_settings
    if topology.vhost != DEFAULT_VHOST:
        settings = settings.model_copy(update={"exists": False})
    if not topology.makes_vhost and settings != VhostSettings():
        yield Problem(
            path="topology.vhost_settings",
            value=show(settings.model_dump(mode="json", exclude_defaults=True)),
            rule="they would be without effect",
            fix="remove them and use `rabbitmqctl`, or give the stack a vhost of its own",
        )


@rule("untyped-queue", "Queues", "what is declared without a type is a classic queue")
def untyped(topology: Topology) -> Iterator[Problem]:
    """Yield queues of another type that say not to send it."""
    for name, queue in topology.queues.items():
        if not queue.typed and queue.type is not QueueType.CLASSIC:
            yield Problem(
                path=path("topology", "queues", name, "typed"),
                value=show(queue.typed),
                rule=f"a {queue.type} queue is declared with its type",
                fix="remove it, or write `type: classic`",
            )


def _definitions(topology: Topology) -> Iterator[tuple[str, str, object]]:
    """Yield the path, the key and the value of all that policies set."""
    for kind in ("policies", "operator_policies"):
        for name, policy in getattr(topology, kind).items():
            for key, value in policy.definition.items():
                yield path("topology", kind, name, "definition", key), key, value


def _arguments(topology: Topology) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield the path and the value of each argument, those in lists and tables too."""
    for name, queue in topology.queues.items():
        yield from _leaves(queue.arguments, ("topology", "queues", name, "arguments"))
    for index, binding in enumerate(topology.bindings):
        yield from _leaves(binding.arguments, ("topology", "bindings", index, "arguments"))


def _texts(
    value: object, where: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path and the text of every key and value."""
    for here, leaf in _leaves(value, where, keys=True):
        if isinstance(leaf, str):
            yield here, leaf


def _leaves(
    value: object, where: tuple[str | int, ...], *, keys: bool = False
) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield the path and the value of all that is no list or table; ``keys`` as values as well."""
    parts: Iterable[tuple[str | int, object]]
    match value:
        case Mapping():
            parts = value.items()
            if keys:
                yield from (((*where, key), key) for key in value)
        case list() | tuple():
            parts = enumerate(value)
        case _:
            yield where, value
            return
    for part, inner in parts:
        yield from _leaves(inner, (*where, part), keys=keys)


BEFORE_EXPANSION: tuple[Rule[Topology], ...] = (
    unicode_form,
    dots,
    nulls,
    large_numbers,
    argument_values,
    policy_keys,
    policy_values,
    broken_patterns,
    default_vhost,
    untyped,
)
