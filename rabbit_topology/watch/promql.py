"""
PromQL, with names in it that may hold anything.

Source: "Querying basics" (string literals, selectors), Prometheus documentation; `regexp/syntax` of
Go, which reads its regular expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection

_DAY, _HOUR, _MINUTE, _SECOND = 86_400_000, 3_600_000, 60_000, 1000


def text(value: str) -> str:
    """Return a string literal.

    JSON's escapes are among PromQL's. What Grafana would take for a variable of its own is written
    by its number.
    """
    literal = json.dumps(value, ensure_ascii=False).replace("$", r"\x24")
    return literal.replace("[[", r"\x5b\x5b")


def pattern(values: Collection[str]) -> str:
    """Return a regular expression that matches these texts whole and nothing else."""
    return "|".join(re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", value) for value in values)


def selector(metric: str, job: str, vhost: str, queues: Collection[str] = ()) -> str:
    """Return the series of a metric: those of some queues of a vhost, or of all."""
    matchers = [f"job={text(job)}", f"vhost={text(vhost)}"]
    if len(queues) == 1:
        matchers += (f"queue={text(queue)}" for queue in queues)
    elif queues:
        matchers.append(f"queue=~{text(pattern(queues))}")
    return f"{metric}{{{','.join(matchers)}}}"


def by_queue(series: str, how: str = "sum") -> str:
    """Return one value for each queue, whichever node says it: only that of its leader does."""
    return f"{how} by (vhost, queue) ({series})"


def duration(milliseconds: int) -> str:
    """Return a duration of whole seconds, rounded up."""
    left = -(-milliseconds // _SECOND) * _SECOND
    shown = []
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE), ("s", _SECOND)):
        number, left = divmod(left, size)
        if number:
            shown.append(f"{number}{unit}")
    return "".join(shown) or "0s"
