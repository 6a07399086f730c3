"""
Alerting rules: which queues each is about, what it says, and names that look like templates.
"""

from __future__ import annotations

import re

import pytest

from rabbit_topology.watch import metrics, promql, rules
from rabbit_topology.watch.rules import Alert, Severity, Source
from tests.support import promtool
from tests.support.promtool import filled_in
from tests.support.watched import EVERYTHING, ODD, SOURCE, watched, written


def of(alert, topology=EVERYTHING):
    return [rule for rule in written(topology) if rule.alert is alert]


def about(alert):
    return {rule.queues: rule for rule in of(alert)}


def test_each_kind_of_trouble_has_rules_for_its_queues_and_no_others():
    seen = {alert: sorted(q for rule in of(alert) for q in rule.queues) for alert in Alert}
    assert seen == {
        Alert.MISSING: [],
        Alert.PARKED: ["new.parking-lot"],
        Alert.GROWING: ["died", "paid.dead-letter"],
        Alert.NO_CONSUMER: sorted(["new", "paid", ODD]),  # not the stream
        Alert.OVERDUE: ["new.retry.1", "new.retry.2", "orders.delay.10m"],
        Alert.UNROUTABLE: ["left", "orders.unroutable"],
        Alert.FULL: ["blobs", "full", "jobs", "paid"],
    }


def test_expressions():
    (parked,) = of(Alert.PARKED)
    where = '{job="rabbitmq-prod",vhost="shop",queue="new.parking-lot"}'
    assert parked.expression == (
        f"sum by (vhost, queue) (rabbitmq_detailed_queue_messages{where}) > 0"
    )
    growing = about(Alert.GROWING)["died",].expression
    died = 'rabbitmq_detailed_queue_messages{job="rabbitmq-prod",vhost="shop",queue="died"}'
    assert growing == (
        f"sum by (vhost, queue) ({died}) - sum by (vhost, queue) ({died} offset 15m) > 0"
    )
    overdue = about(Alert.OVERDUE)["new.retry.2",]
    step = died.replace("died", "new.retry.2")
    assert overdue.expression == (
        f"max by (vhost, queue) (min_over_time({step}[5m]) > 0 unless resets({step}[5m]) > 0)"
    )
    assert overdue.pending == 60_000 + 300_000
    (missing,) = of(Alert.MISSING)
    assert missing.expression == (
        'absent(rabbitmq_detailed_queue_messages{job="rabbitmq-prod",vhost="shop"})'
    )


def test_a_queue_is_nearly_full_at_nine_tenths_and_critical_where_messages_are_lost():
    full = about(Alert.FULL)
    assert full["jobs",].expression.endswith('queue="jobs"}) >= 45')
    assert full["full",].expression.endswith(">= 9")
    assert "messages_ready_bytes{" in full["blobs",].expression
    assert full["blobs",].expression.endswith(">= 900000")
    severities = {queues: rule.severity for queues, rule in full.items()}
    assert severities["blobs",] is Severity.CRITICAL
    assert severities["full",] is severities["jobs",] is Severity.WARNING
    assert "beyond are lost" in full["blobs",].summary
    assert "beyond are refused" in full["full",].summary
    assert "beyond are dead-lettered" in full["jobs",].summary


def test_queues_share_a_rule_where_an_alert_says_the_same_of_them():
    topology = {
        "vhost": "v",
        "queues": {name: {} for name in ("a.b", "c", "d")},
        "services": {"one": {"consumes": ["a.b", "c"]}, "two": {"consumes": ["d"]}},
    }
    shared, alone = of(Alert.NO_CONSUMER, topology)
    assert shared.queues == ("a.b", "c")
    assert shared.expression == (
        "sum by (vhost, queue) (rabbitmq_detailed_queue_consumers"
        r'{job="rabbitmq-prod",vhost="v",queue=~"a\\.b|c"}) == 0'
    )
    assert (alone.queues, alone.services) == (("d",), ("two",))


def test_an_alert_names_its_services_and_severity_and_the_series_the_queue_and_vhost():
    rule = about(Alert.NO_CONSUMER)["paid",]
    document = rule.as_yaml("prod")
    assert document["labels"] == {
        "severity": "critical",
        "stack": "prod",
        "service": "audit, billing",
    }
    assert "by (vhost, queue)" in document["expr"]
    assert "{{ $labels.queue }} of vhost shop" in document["annotations"]["summary"]
    assert "audit and billing consume" in document["annotations"]["summary"]
    unowned = about(Alert.GROWING)["died",].as_yaml("prod")
    assert "service" not in unowned["labels"]


def test_no_two_rules_have_the_same_name_and_labels():
    # promtool warns of such; and an alert of the one would be taken for the other's.
    topology = {
        "vhost": "v",
        "queues": {
            "one": {"retry": {"delays": ["5s", "1m"]}},
            "five": {"max_length": 10},
            "two": {"max_length": 20},
            "three": {"max_length": 20, "overflow": "reject-publish"},
            "four": {"max_length_bytes": 20},
        },
        "services": {"s": {"consumes": ["one", "two", "three", "four", "five"]}},
    }
    named = [(rule.alert, *rule.as_yaml("prod")["labels"].items()) for rule in written(topology)]
    assert len(named) > 6
    assert len(set(named)) == len(named)


def test_what_somebody_looks_into_now_and_then_needs_no_consumer():
    topology = {
        "vhost": "v",
        "exchanges": {"e": {"unroutable": True}},
        "queues": {"one": {"retry": {"delays": ["5s"]}}, "two": {"dead_letter": True}},
        "services": {
            "operator": {"consumes": ["one.parking-lot", "two.dead-letter", "e.unroutable"]},
            "a": {"consumes": ["one"]},
            "b": {"consumes": ["one"]},
            "c": {"consumes": ["one"]},
        },
    }
    (rule,) = of(Alert.NO_CONSUMER, topology)
    assert (rule.queues, rule.services) == (("one",), ("a", "b", "c"))
    assert "which a, b and c consume" in rule.summary
    (parked,) = of(Alert.PARKED, topology)
    assert parked.services == ("a", "b", "c", "operator")


def test_every_runbook_has_the_command_to_run():
    command = "python -m rabbit_topology status --stack prod --vhost shop"
    assert all(command in rule.runbook for rule in written())
    source = Source(stack="x", job="j", choice=("--file", "a b.yaml"))
    shown = written({**EVERYTHING, "vhost": "it's"}, source)[0].runbook
    assert "status --file 'a b.yaml' --vhost 'it'\"'\"'s'" in shown


def test_the_runbook_of_a_parking_lot_looks_at_messages_and_replays_them():
    (parked,) = of(Alert.PARKED, {**EVERYTHING, "vhost": "{odd}"})
    replay = "python -m rabbit_topology replay 'new.parking-lot' --stack prod --vhost '{odd}'"
    shown = filled_in(parked.runbook, "new.parking-lot", 3)
    assert f"with: {replay} --peek. " in shown
    assert "the same command without --peek. See with: python -m rabbit_topology status " in shown


def test_names_stay_as_they_are_in_templates():
    rule = about(Alert.NO_CONSUMER)[ODD,]
    document = rule.as_yaml("{stack}")
    texts = [document["labels"]["service"], *document["annotations"].values()]
    assert filled_in(texts[0], "q", 3) == "odd {{service}}"
    assert "which odd {{service}} consumes" in filled_in(texts[1], "q", 3)
    assert filled_in(document["labels"]["stack"], "q", 3) == "{stack}"


@pytest.mark.parametrize("rule", written(), ids=lambda rule: f"{rule.alert}-{rule.queues[:1]}")
def test_each_text_is_a_template_that_can_be_filled_in(rule):
    document = rule.as_yaml("prod")
    for text in (*document["labels"].values(), *document["annotations"].values()):
        assert filled_in(text, "q", 3)
    assert document["for"] == promql.duration(rule.pending)


def test_prometheus_own_tests_have_two_for_each_queue_of_each_rule():
    made = promtool.document(SOURCE, written(), "rules.yaml")["tests"]
    assert len(made) == 2 * sum(len(rule.queues or ("",)) for rule in written())
    expected = [one["alert_rule_test"][0]["exp_alerts"] for one in made]
    assert [len(alerts) for alerts in expected] == [1, 0] * (len(made) // 2)
    labels = [alerts[0]["exp_labels"] for alerts in expected if alerts]
    assert {"vhost", "queue", "severity", "stack", "service"} <= labels[1].keys()
    assert not any(
        "{{ " in text
        for alerts in expected
        for one in alerts
        for text in one["exp_annotations"].values()
    )


def test_only_metrics_that_every_version_has_are_used():
    for rule in written():
        used = set(re.findall(r"rabbitmq_\w+(?=\{)", rule.expression))
        assert used
        assert used <= set(metrics.FAMILIES), rule


def test_a_group_for_each_vhost_and_none_without_queues():
    topology = {
        "vhosts": {"a": {"queues": {"q": {}}}, "b": {"queues": {"q": {}}}, "c": {}},
    }
    document = rules.document(SOURCE, watched(topology))
    assert [group["name"] for group in document["groups"]] == [
        "rabbit-topology prod a",
        "rabbit-topology prod b",
    ]
    assert rules.rules(SOURCE, []) == []
