"""
Which headers a headers exchange's binding takes, one message's or any; and sets of such headers.

A set is a union of boxes: by header, the values that it may have, and whether it may be missing.
Source: "Headers Exchange", RabbitMQ documentation; `rabbit_exchange_type_headers`, read in 3.10.8,
4.0.5 and 4.3.6.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rabbit_topology.routing.pattern import TooComplexError

X_MATCH = "x-match"

MAX_BOXES = 4_096
"""Boxes that a set may have: what many bindings leave over together can be more."""

Value: TypeAlias = tuple[str, Any]
"""A header's value with its kind: 1, "1", 1.0 and true are four of them."""


def value(plain: object, *, numbers_alike: bool = False) -> Value | None:
    """Return a header's value as the broker compares it; None for one that is void.

    Lists and mappings are compared as a whole. The broker also looks at the width of numbers in
    them, which no config says.

    Args:
        plain: As JSON has it.
        numbers_alike: 1 and 1.0 are the same, as they are before RabbitMQ 4.0.
    """
    match plain:
        case None:
            return None
        case bool():
            return "truth", plain
        case int() | float():
            kind = "number" if numbers_alike or isinstance(plain, int) else "fraction"
            return kind, plain
        case str():
            return "text", plain
        case _:
            return "whole", json.dumps(plain, sort_keys=True)


@dataclass(frozen=True)
class Condition:
    """What a binding asks of headers."""

    every: bool
    """All of it, else any."""
    asked: tuple[tuple[str, Value | None], ...]
    """Headers, each with its value; None: the header is there."""

    def takes(self, headers: Mapping[str, Value | None]) -> bool:
        """Return whether a message with such headers is taken."""
        matched = (
            name in headers and (wanted is None or headers[name] == wanted)
            for name, wanted in self.asked
        )
        return all(matched) if self.every else any(matched)


def condition(arguments: Mapping[str, Any], *, numbers_alike: bool = False) -> Condition:
    """Return what a binding with such arguments asks.

    Headers that begin with ``x-`` count only with `all-with-x` and `any-with-x`.
    """
    how = arguments.get(X_MATCH)
    with_x = how in ("all-with-x", "any-with-x")
    return Condition(
        every=how not in ("any", "any-with-x"),
        asked=tuple(
            (name, value(wanted, numbers_alike=numbers_alike))
            for name, wanted in sorted(arguments.items())
            if name != X_MATCH and (with_x or not name.startswith("x-"))
        ),
    )


@dataclass(frozen=True)
class Allowed:
    """What one header may be."""

    only: Value | None = None
    """This value; None: any."""
    never: frozenset[Value] = frozenset()
    """None of these values."""
    present: bool = True
    """It may be there."""
    missing: bool = True
    """It may be missing."""

    def both(self, other: Allowed) -> Allowed | None:
        """Return what both allow, None if that is nothing."""
        never = self.never | other.never
        only = self.only if self.only is not None else other.only
        present = self.present and other.present
        if only is not None and (
            only in never or (other.only is not None and self.only not in (None, other.only))
        ):
            present = False
        missing = self.missing and other.missing
        if not present:
            return Allowed(present=False) if missing else None
        return Allowed(only=only, never=frozenset() if only else never, missing=missing)

    def others(self) -> Iterator[Allowed]:
        """Yield what is not allowed, in parts that have nothing in common."""
        if not self.present:
            yield Allowed(missing=False)
        elif self.only is not None:
            yield Allowed(never=frozenset([self.only]), missing=not self.missing)
        else:
            for one in sorted(self.never, key=repr):
                yield Allowed(only=one, missing=False)
            if not self.missing:
                yield Allowed(present=False)


_ANY = Allowed()


@dataclass(frozen=True)
class Box:
    """Headers by name, each with what it may be; all others may be anything."""

    allowed: frozenset[tuple[str, Allowed]] = frozenset()

    @classmethod
    def of(cls, allowed: Mapping[str, Allowed]) -> Box:
        """Return the box of some headers, without those that may be anything."""
        return cls(frozenset((name, one) for name, one in allowed.items() if one != _ANY))

    def both(self, other: Box) -> Box | None:
        """Return what is in both, None if that is nothing."""
        if not self.allowed or not other.allowed:
            return self if self.allowed else other
        merged = dict(self.allowed)
        for name, one in other.allowed:
            together = merged.get(name, _ANY).both(one)
            if together is None:
                return None
            merged[name] = together
        return Box.of(merged)

    def without(self, other: Box) -> list[Box]:
        """Return what is in this box and not in another, in boxes with nothing in common."""
        outside: list[Box] = []
        inside: Box | None = self
        for name, one in sorted(other.allowed, key=lambda pair: pair[0]):
            if inside is None:
                break
            for rest in one.others():
                part = inside.both(Box.of({name: rest}))
                if part is not None:
                    outside.append(part)
            inside = inside.both(Box.of({name: one}))
        return outside

    def has(self, headers: Mapping[str, Value | None]) -> bool:
        """Return whether a message's headers are in it."""
        return all(
            (
                one.present
                and (headers[name] == one.only or one.only is None)
                and headers[name] not in one.never
            )
            if name in headers
            else one.missing
            for name, one in self.allowed
        )

    def example(self) -> dict[str, Any]:
        """Return headers that are in it, as few as there can be."""
        headers: dict[str, Any] = {}
        for name, one in sorted(self.allowed, key=lambda pair: pair[0]):
            if not one.missing:
                shown = {repr(each[1]) for each in one.never}
                other = next(
                    word
                    for word in (*"xyz", *map(str, range(len(shown))))
                    if repr(word) not in shown
                )
                headers[name] = _plain(one.only) if one.only is not None else other
        return headers

    def __str__(self) -> str:
        return ", ".join(
            _shown(name, one) for name, one in sorted(self.allowed, key=lambda pair: pair[0])
        )


ANY_HEADERS = Box()


def boxes(wanted: Condition) -> list[Box]:
    """Return the headers that a condition takes."""
    single = [
        Allowed(only=one, missing=False) if one is not None else Allowed(missing=False)
        for _, one in wanted.asked
    ]
    named = [(name, one) for (name, _), one in zip(wanted.asked, single, strict=True)]
    if not wanted.every:
        return [Box.of({name: one}) for name, one in named]
    return [Box.of(dict(named))]


def left_over(conditions: Iterable[Condition]) -> list[Box]:
    """Return the headers that none of some conditions takes.

    Raises:
        TooComplexError: They are more than `MAX_BOXES` boxes.
    """
    left = [ANY_HEADERS]
    for wanted in conditions:
        for taken in boxes(wanted):
            left = list(dict.fromkeys(rest for box in left for rest in box.without(taken)))
            if len(left) > MAX_BOXES:
                raise TooComplexError(
                    f"what a headers exchange's bindings leave over is more than {MAX_BOXES:,} "
                    "cases"
                )
    return left


def _plain(one: Value) -> Any:
    kind, plain = one
    return json.loads(plain) if kind == "whole" else plain


def _shown(name: str, one: Allowed) -> str:
    if not one.present:
        return f"no {name}"
    may = " or none" if one.missing else ""
    if one.only is not None:
        return f"{name} = {json.dumps(_plain(one.only), ensure_ascii=False)}{may}"
    if one.never:
        never = sorted(json.dumps(_plain(each), ensure_ascii=False) for each in one.never)
        return f"{name} other than {' and '.join(never)}{may}"
    return f"any {name}" if not one.missing else name
