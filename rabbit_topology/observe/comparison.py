"""
A broker's definitions beside a config: what is changed, overruled, missing and unmanaged.

Pure. What is compared, and how, is what decides whether a stack adopts an object
(`inventory.adoption`), so that what is said to be equal here is adopted there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from rabbit_topology.adopt import proof
from rabbit_topology.adopt.definitions import Definitions
from rabbit_topology.broker import inventory
from rabbit_topology.compiler.settings import alike
from rabbit_topology.config.stack import Stack
from rabbit_topology.inventory.adoption import Wanted, passing
from rabbit_topology.lint.files import HIDDEN
from rabbit_topology.model import versions
from rabbit_topology.model.versions import Version
from rabbit_topology.observe import ignores, overruled, unmanaged
from rabbit_topology.observe.declared import Declared, PasswordOf
from rabbit_topology.observe.drift import Difference, Drift, Mend, Report, State
from rabbit_topology.observe.ignores import Ignored
from rabbit_topology.observe.mends import Mends

_URIS = ("src-uri", "dest-uri", "uri")
_SHOWN = 5


class Unmanaged(StrEnum):
    """Which objects that are not declared count as drift."""

    OWN = "own"
    """Those in vhosts that the stack makes, and in others what touches its objects."""
    ALL = "all"
    """All in the vhosts of the stack."""
    NONE = "none"
    """None."""


def compare(
    stack: Stack,
    had: Definitions,
    password_of: PasswordOf,
    *,
    endpoint: str,
    username: str,
    counted: Unmanaged = Unmanaged.OWN,
    ignored: Sequence[Ignored] = (),
) -> Report:
    """Compare a broker with a config.

    Args:
        stack: The config, checked.
        had: What the broker has.
        password_of: Returns the password of a user; None where it is not known.
        endpoint: The broker's management API.
        username: Who the stack connects as.
        counted: Which objects that are not declared count.
        ignored: What is meant to be otherwise.
    """
    work = _Work(had=had, password_of=password_of, username=username, counted=counted)
    for root, whole in stack.whole.items():
        declared = Declared(root=root, written=stack.written[root], whole=whole)
        mends = Mends(declared=declared, had=had, endpoint=endpoint, username=username)
        work.drifts += work.vhost(declared, mends)
    drifts, unused = ignores.applied(work.drifts, ignored)
    order = list(State)
    return Report(
        endpoint=endpoint,
        version=had.version,
        equal=work.equal,
        drifts=sorted(drifts, key=lambda one: order.index(one.state)),
        unchecked=tuple(work.unchecked()),
        others=dict(work.others),
        unused=unused,
    )


@dataclass(kw_only=True)
class _Work:
    """The work on all vhosts."""

    had: Definitions
    password_of: PasswordOf
    username: str
    counted: Unmanaged
    drifts: list[Drift] = field(default_factory=list)
    equal: int = 0
    others: Counter[str] = field(default_factory=Counter)
    _passwords: set[str] = field(default_factory=set)
    _uris: set[str] = field(default_factory=set)

    def vhost(self, declared: Declared, mends: Mends) -> Iterator[Drift]:
        """Yield the drifts of one vhost, and count the rest."""
        vhost = declared.whole.vhost
        if vhost not in self.had.vhosts:
            missing = Wanted(kind="vHost", vhost="", name=vhost, settings={})
            yield _drift(State.MISSING, declared, missing, (), mends.missing(missing))
            return
        within = self.had.within[vhost]
        wanted = list(declared.objects(self.password_of))
        seen = proof.compare(wanted, declared.whole.routes(), within, self._there)
        self.equal += seen.equal
        for one, lines in seen.different:
            differences = tuple(self._differences(one, lines))
            if differences:
                told = mends.changed(one, differences)
                yield _drift(State.CHANGED, declared, one, differences, told)
            else:
                self.equal += 1
        for above in overruled.find(declared, within, self._like):
            told = mends.overruled(above)
            one = Wanted(kind=above.kind, vhost=vhost, name=above.name, settings={})
            by = Difference(field="by", change=", ".join(above.by))
            yield _drift(State.OVERRULED, declared, one, (*above.differences, by), told)
        by_itself = {*passing(declared.whole)}
        for one in seen.missing:
            reason = "the broker deletes it when it is unused, or at a restart"
            why = (Difference(field="note", change=reason),)
            said = why if (one.kind, one.name) in by_itself else ()
            yield _drift(State.MISSING, declared, one, said, mends.missing(one))
        for route in seen.unbound:
            name = f"{route.source} -[{route.routing_key}]-> {route.destination}"
            yield Drift(
                state=State.MISSING,
                title=f"binding {name}",
                vhost=vhost,
                path=declared.binding(route),
                mends=tuple(mends.unbound(route)),
            )
        known = frozenset((one.kind, one.name) for one in wanted)
        yield from self._unmanaged(declared, mends, known)

    def unchecked(self) -> Iterator[str]:
        """Yield what could not be compared."""
        if self._passwords:
            yield f"passwords of {_some(self._passwords)}: they are not known here"
        if self._uris:
            yield f"URIs of {_some(self._uris)}: they are encrypted in the config"

    @cached_property
    def _there(self) -> proof.There:
        return proof.There(self.had)

    @property
    def _like(self) -> Version:
        """The newest of the tested versions that the broker may behave like."""
        try:
            return alike(versions.parse(self.had.version or ""))[-1]
        except ValueError:
            return alike(None)[-1]

    def _differences(self, one: Wanted, lines: Sequence[str]) -> Iterator[Difference]:
        for line in lines:
            name, _, change = line.partition(": ")
            if one.kind == "user" and name == "password" and one.settings["password"] is None:
                self._passwords.add(one.name)
            elif name in _URIS and HIDDEN in (one.settings.get(name) or ()):
                self._uris.add(one.title)
            else:
                yield Difference(field=name, change=change)

    def _unmanaged(
        self, declared: Declared, mends: Mends, known: frozenset[tuple[str, str]]
    ) -> Iterator[Drift]:
        if self.counted is Unmanaged.NONE:
            return
        vhost = declared.whole.vhost
        within = self.had.within[vhost]
        own = self.counted is Unmanaged.ALL or declared.whole.makes_vhost
        for other in unmanaged.find(declared, within, known, self.username):
            if not own and not other.touches:
                self.others[vhost] += 1
                continue
            where = declared.within("bindings")
            yield Drift(
                state=State.UNMANAGED,
                title=inventory.title(other.kind, other.name),
                vhost=vhost,
                path=where if other.kind == "binding" else declared.path(other.kind, other.name),
                mends=tuple(mends.unmanaged(other)),
            )


def _drift(
    state: State,
    declared: Declared,
    one: Wanted,
    differences: Sequence[Difference],
    told: Iterator[Mend],
) -> Drift:
    return Drift(
        state=state,
        title=one.title,
        vhost=one.vhost,
        path=declared.path(one.kind, one.name),
        differences=tuple(differences),
        mends=tuple(told),
    )


def _some(names: set[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN:,} more" if len(listed) > _SHOWN else ""
    return f"{', '.join(listed[:_SHOWN])}{more}"
