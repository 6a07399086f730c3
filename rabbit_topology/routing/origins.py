"""
Where in the config stands what makes a binding, a queue or a setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from rabbit_topology.compiler import effective, patterns
from rabbit_topology.compiler.context import Context
from rabbit_topology.compiler.effective import Target
from rabbit_topology.compiler.patterns import Parts
from rabbit_topology.errors import path
from rabbit_topology.model import Exchange, Queue, Topology


class Origins:
    """The config paths of one vhost."""

    def __init__(self, context: Context, root: str) -> None:
        """Prepare to tell them; ``root`` is the path that the vhost stands at."""
        self._context = context
        self._root = root

    def at(self, where: str) -> str:
        """Return a config path under `topology` as it is in this vhost."""
        return f"{self._root}{where.removeprefix('topology')}"

    def of_queue(self, name: str) -> str:
        """Return where a queue is declared, or the pattern stands that makes it."""
        return self._makers.get(("queues", name), self.at(path("topology", "queues", name)))

    def of_exchange(self, name: str) -> str:
        """Return where an exchange is declared, or the pattern stands that makes it."""
        return self._makers.get(("exchanges", name), self.at(path("topology", "exchanges", name)))

    def of_setting(self, kind: str, name: str, key: str) -> str:
        """Return where a queue's or exchange's setting comes from, as a config path.

        Args:
            kind: `queues` or `exchanges`.
            name: Of the queue or exchange.
            key: By the name that policies have for it.
        """
        maker = self._makers.get((kind, name))
        if maker is not None:
            return maker
        written: Mapping[str, Queue | Exchange] = getattr(self._context.written, kind)
        declared = written.get(name)
        if declared is not None:
            if own := _own_field(declared, key):
                return self.at(path("topology", kind, name, own))
            for argument in (f"x-{key}", key):
                if argument in declared.arguments:
                    return self.at(path("topology", kind, name, "arguments", argument))
        target = Target(
            kind=kind, name=name, type=declared.type if isinstance(declared, Queue) else None
        )
        for policies in ("operator_policies", "policies"):
            which = getattr(self._context.whole, policies)
            matching = effective.Index(which, self._context.like[-1:]).matching(target)
            if matching and key in which[matching[0]].definition:
                return self.at(path("topology", policies, matching[0], "definition", key))
        return self.at(path("topology", kind, name))

    @cached_property
    def _makers(self) -> Mapping[tuple[str, str], str]:
        """By queue or exchange that a pattern makes: where the pattern stands."""
        return {
            (kind, name): self.at(where)
            for where, parts in additions(self._context.written)
            for kind, made in (("queues", parts.queues), ("exchanges", parts.exchanges))
            for name in made
        }

    def of_routes(self) -> Iterator[str]:
        """Yield the config path of each route, in their order."""
        for index, binding in enumerate(self._context.written.bindings):
            here = path("topology", "bindings", index)
            if binding.routing_keys is None:
                yield self.at(here)
            else:
                for number in range(len(binding.routing_keys)):
                    yield self.at(f"{here}.{path('routing_keys', number)}")
        for where, parts in additions(self._context.written):
            for binding in parts.bindings:
                yield from (self.at(where) for _ in binding.routes())


def _own_field(declared: Queue | Exchange, key: str) -> str | None:
    """Return the field of a queue or exchange that makes a setting, None if none does."""
    if isinstance(declared, Exchange):
        if declared.unroutable:
            return "unroutable"
        return "alternate" if key in declared.settings() else None
    if key.startswith("dead-letter-"):
        if declared.retry:
            return "retry"
        return "dead_letter" if declared.dead_letter else None
    return key.replace("-", "_") if key in declared.settings() else None


def additions(written: Topology) -> Iterator[tuple[str, Parts]]:
    """Yield what each pattern of a topology adds, with its config path, in their order."""
    bare = written.model_copy(update={"queues": {}, "exchanges": {}, "super_streams": {}})
    for name, queue in written.queues.items():
        if queue.retry or queue.dead_letter:
            field_ = "retry" if queue.retry else "dead_letter"
            one = bare.model_copy(update={"queues": {name: queue}})
            yield path("topology", "queues", name, field_), patterns.additions(one)
    for name, exchange in written.exchanges.items():
        if exchange.unroutable:
            only = exchange.model_copy(update={"delays": ()})
            one = bare.model_copy(update={"exchanges": {name: only}})
            yield path("topology", "exchanges", name, "unroutable"), patterns.additions(one)
        if exchange.delays:
            only = exchange.model_copy(update={"unroutable": False})
            one = bare.model_copy(update={"exchanges": {name: only}})
            yield path("topology", "exchanges", name, "delays"), patterns.additions(one)
    for name, stream in written.super_streams.items():
        one = bare.model_copy(update={"super_streams": {name: stream}})
        yield path("topology", "super_streams", name), patterns.additions(one)
