"""
Unit tests for alerting rules, as `promtool test rules` reads them: made for each rule by its kind.

Source: "Unit testing for rules", Prometheus documentation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rabbit_topology.watch import promql
from rabbit_topology.watch.rules import Alert, Rule, Source

_MINUTE = 60_000
_SLACK = 10
"""Minutes after which an alert is there that has waited as long as it has to."""


def document(source: Source, rules: Sequence[Rule], file: str) -> dict[str, Any]:
    """Return a file of tests: for each queue of each rule one that fires, and a near miss."""
    return {
        "rule_files": [file],
        "evaluation_interval": "1m",
        "tests": [
            _test(source, rule, queue, fires=fires)
            for rule in rules
            for queue in rule.queues or ("",)
            for fires in (True, False)
        ],
    }


def _test(source: Source, rule: Rule, queue: str, *, fires: bool) -> dict[str, Any]:
    minutes = rule.pending // _MINUTE + 1 + _SLACK
    if rule.alert is Alert.GROWING:
        minutes += 15  # before, there is nothing to compare with
    values, value = _values(rule, minutes, fires=fires)
    given = {"interval": "1m", "name": f"{rule.alert} of {queue or rule.vhost}: {fires}"}
    expected = [_expected(source, rule, queue, value)] if fires else []
    asked = {"eval_time": f"{minutes}m", "alertname": rule.alert.value, "exp_alerts": expected}
    series = [{"series": name, "values": values} for name in _series(source, rule, queue, fires)]
    return {**given, "input_series": series, "alert_rule_test": [asked]}


def _series(source: Source, rule: Rule, queue: str, fires: bool) -> Iterator[str]:
    """Yield the series that a rule is about; of missing metrics, those of another vhost too."""
    (metric, *_) = re.findall(r"rabbitmq_\w+(?=\{)", rule.expression)
    if rule.alert is not Alert.MISSING or not fires:
        yield promql.selector(metric, source.job, rule.vhost, [queue or "any"])
    if rule.alert is Alert.MISSING:
        yield promql.selector(metric, source.job, f"{rule.vhost}-other", ["any"])


def _values(rule: Rule, minutes: int, *, fires: bool) -> tuple[str, int]:
    """Return a series, a value each minute, and what the alert's text says of it."""
    match rule.alert:
        case Alert.GROWING:
            return (f"5+1x{minutes}", 15) if fires else (f"7+0x{minutes}", 0)
        case Alert.NO_CONSUMER:
            return f"{0 if fires else 1}+0x{minutes}", 0
        case Alert.OVERDUE:  # the same ones all the time; or as many, which come and go
            return (f"4+0x{minutes}", 4) if fires else (" ".join(["4", "3"] * minutes), 0)
        case Alert.FULL:
            least = math.ceil(float(rule.expression.rpartition(" >= ")[2]))
            return f"{least if fires else least - 1}+0x{minutes}", least
        case _:
            return f"{3 if fires else 0}+0x{minutes}", 3


def _expected(source: Source, rule: Rule, queue: str, value: int) -> dict[str, Any]:
    written = rule.as_yaml(source.stack)
    of_series = {"vhost": rule.vhost}
    of_series |= {"queue": queue} if queue else {"job": source.job}

    def filled(texts: dict[str, str]) -> dict[str, str]:
        return {name: filled_in(text, queue, value) for name, text in texts.items()}

    return {
        "exp_labels": {**of_series, **filled(written["labels"])},
        "exp_annotations": filled(written["annotations"]),
    }


def filled_in(template: str, queue: str, value: int) -> str:
    """Do what Prometheus does with the templates that rules have; any other is an error."""
    known = {
        '{{ "{" }}': "{",
        "{{ $labels.queue }}": queue,
        '{{ printf "%.0f" $value }}': str(value),
    }
    parts = re.split(r"(\{\{.*?\}\})", template)
    for part in parts:
        assert part in known or "{" not in part, part
    return "".join(known.get(part, part) for part in parts)
