"""
Advice about shovels and federation upstreams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rabbit_topology.compiler import whereabouts
from rabbit_topology.compiler.context import Context
from rabbit_topology.config.words import show
from rabbit_topology.errors import Problem, path
from rabbit_topology.findings import Rule, Severity, advice
from rabbit_topology.model import DEFAULT_VHOST, FederationUpstream, Shovel

_LOST = {
    "no-ack": "what is on its way is lost whenever the link stops, by a change of it as well",
    "on-publish": "what its destination has not confirmed is lost when the connection to it breaks",
}


@advice(
    "link-acknowledges-early",
    Severity.WARNING,
    "Dynamic Shovels",
    "a message that is acknowledged at its source before its destination has it can be lost",
)
def acknowledges_early(context: Context) -> Iterator[Problem]:
    """Yield shovels and upstreams with a weaker mode than the default."""
    written: tuple[tuple[str, Mapping[str, Shovel | FederationUpstream]], ...] = (
        ("shovels", context.written.shovels),
        ("federation_upstreams", context.written.federation_upstreams),
    )
    for kind, links in written:
        for name, link in links.items():
            if link.ack_mode in _LOST:
                yield Problem(
                    path=path("topology", kind, name, "ack_mode"),
                    value=show(link.ack_mode),
                    rule=_LOST[link.ack_mode],
                    fix="leave it out: `on-confirm` loses nothing",
                )


@advice(
    "shovel-own-queue",
    Severity.WARNING,
    "Dynamic Shovels",
    "a shovel from an exchange has a queue that goes with its connection, with what it holds",
)
def own_queue(context: Context) -> Iterator[Problem]:
    """Yield shovels whose source is an exchange."""
    for name, shovel in context.written.shovels.items():
        if shovel.source_exchange:
            yield Problem(
                path=path("topology", "shovels", name, "source_exchange"),
                value=show(shovel.source_exchange),
                rule="while the shovel is away nothing is kept for it, and a change of it is "
                "refused",
                fix="declare a queue, bind it to the exchange, and name it as `source_queue`",
            )


@advice(
    "shovel-without-key",
    Severity.WARNING,
    "AMQP 0-9-1 Complete Reference Guide",
    "the broker binds its queue by that queue's own name, which nobody publishes with",
)
def without_key(context: Context) -> Iterator[Problem]:
    """Yield shovels that take from a direct or topic exchange of the vhost without a key."""
    for name, shovel in context.written.shovels.items():
        if not shovel.source_exchange or shovel.source_exchange_key:
            continue
        vhost = whereabouts.vhost_named(shovel.source_uri, DEFAULT_VHOST)
        type_ = context.whole.exchange_type(shovel.source_exchange)
        if vhost == context.whole.vhost and type_ in ("direct", "topic"):
            yield Problem(
                path=path("topology", "shovels", name, "source_exchange"),
                value=show(shovel.source_exchange),
                rule=f"without `source_exchange_key` it takes nothing from a {type_} exchange",
                fix="name the key; `#` takes all of a topic exchange",
            )


RULES: tuple[Rule[Context], ...] = (acknowledges_early, own_queue, without_key)
