"""
What `pulumi preview --json` says: which steps there are, and what was said meanwhile.

The engine puts what the program tells it into `diagnostics`: a text with its severity in front and
a line break behind. What a hook raises has the engine's own words before it, and may have a
traceback after it; neither belongs to what was said.
Source: `PreviewDigest` of the engine's package `display`; "pulumi preview", Pulumi documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rabbit_topology.errors import TopologyError

ERROR, WARNING = "error", "warning"
"""Severities; others only tell."""

_WAY_ON = "run `pulumi preview --json --stack STACK > preview.json`"
_OWN_KEYS = {"config", "steps", "diagnostics", "duration", "changeSummary", "maybeCorrupt"}
_STREAMED_KEYS = {"sequence", "timestamp"}
_PROVIDER = "rabbitmq:index/"
_UNCHANGED = {"same", "read", "refresh"}

_RAISED = (
    re.compile(r'\A.*?\b(?:before|after|error) hook "[^"\n]*" failed: ', re.DOTALL),
    re.compile(r"\A.*?\bInvoke callback \S+ error: ", re.DOTALL),
)
"""What stands before that which a hook raises: of the engine, and of the SDK where it does not tell
the engine by itself."""

_TRACEBACK = re.compile(r':\n  File "[^\n]*", line \d+, in .*\Z', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that was said in the preview, by the program or by the engine."""

    severity: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the engine would do to one object of a broker."""

    op: str
    """`create`, `update`, `delete`, `replace` or others."""
    kind: str
    """`queue`, `vHost` and so on."""
    vhost: str
    """Empty for what is in none."""
    name: str
    """Of permissions the user's; of a binding its ends."""
    hooks: frozenset[str]
    """What looks after its deletion: `queue`, `discarded-queue` and so on; none: nothing does."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One preview."""

    stack: str | None
    """The stack's name; None: it does not tell."""
    steps: Sequence[Step]
    """What would be done to objects of a broker, in the order of the engine."""
    notes: Sequence[Note]
    counts: Mapping[str, int]
    """Resources by what would be done with them, `same` for those that stay as they are."""

    @property
    def changes(self) -> int:
        """How many resources would not stay as they are."""
        return sum(count for op, count in self.counts.items() if op not in _UNCHANGED)


def parse(text: str, source: str) -> Preview:
    """Read what `pulumi preview --json` has printed.

    Args:
        text: All of it; lines before and after the document are passed over.
        source: What to call it.

    Raises:
        TopologyError: It is no preview.
    """
    digest = _digest(text, source)
    try:
        steps = [_Raw.of(step) for step in digest.get("steps") or ()]
        return Preview(
            stack=next((one.stack for one in steps if one.stack), None),
            steps=[one.step() for one in steps if one.type.startswith(_PROVIDER)],
            notes=[_note(one) for one in digest.get("diagnostics") or ()],
            counts=dict(digest.get("changeSummary") or {}),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise TopologyError(f"{source}: it is not written as a preview is: {error!r}") from None


def _digest(text: str, source: str) -> Mapping[str, Any]:
    if not text.strip():
        raise TopologyError(f"{source}: it is empty, and no preview; {_WAY_ON}, and look at errors")
    decoder = json.JSONDecoder()
    for begin in re.finditer(r"^\{", text, re.MULTILINE):
        try:
            value, _ = decoder.raw_decode(text, begin.start())
        except ValueError:
            continue
        if value.keys() & _STREAMED_KEYS:
            raise TopologyError(
                f"{source}: these are single events; run the preview again without "
                "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"
            )
        if not value or value.keys() & _OWN_KEYS:
            known: Mapping[str, Any] = value
            return known
    raise TopologyError(f"{source}: no preview is in it; {_WAY_ON}")


@dataclass(frozen=True, kw_only=True)
class _Raw:
    """One step as it is written."""

    op: str
    urn: str
    type: str
    inputs: Mapping[str, Any]
    hooks: frozenset[str]

    @classmethod
    def of(cls, step: Mapping[str, Any]) -> _Raw:
        # What is deleted or replaced is known by what it was.
        old, new = step.get("oldState") or {}, step.get("newState") or {}
        state = old or new
        by_moment = state.get("resourceHooks") or {}
        return cls(
            op=step["op"],
            urn=step["urn"],
            type=state.get("type") or _part(step["urn"], 2).rpartition("$")[2],
            inputs=state.get("inputs") or {},
            hooks=frozenset(
                name.rpartition(":")[2] for name in by_moment.get("BeforeDelete") or ()
            ),
        )

    @property
    def stack(self) -> str:
        return _part(self.urn, 0)

    def step(self) -> Step:
        kind = self.type.split(":")[1].removeprefix("index/")
        return Step(
            op=self.op,
            kind=kind,
            vhost=str(self.inputs.get("vhost") or ""),
            name=self._name(kind),
            hooks=self.hooks,
        )

    def _name(self, kind: str) -> str:
        if kind == "binding":
            return f"{self.inputs.get('source')} -> {self.inputs.get('destination')}"
        known = self.inputs.get("name") or self.inputs.get("user")
        return str(known or self.urn.rpartition("::")[2])


def _part(urn: str, number: int) -> str:
    """Return a part of ``urn:pulumi:STACK::PROJECT::TYPE::NAME``, empty if there is none."""
    parts = urn.removeprefix("urn:pulumi:").split("::")
    return parts[number] if len(parts) > number else ""


def _note(written: Mapping[str, Any]) -> Note:
    severity = str(written.get("severity") or "info")
    text = f"{written.get('prefix') or ''}{written.get('message') or ''}".strip()
    text = text.removeprefix(f"{severity}:").strip()
    if severity == ERROR:
        for before in _RAISED:
            text = before.sub("", text)
        text = _TRACEBACK.sub("", text)
    return Note(severity=severity, text=text)
