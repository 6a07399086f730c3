"""
The dashboard: a row for each service and kind of queue, panels that do not overlap.
"""

from __future__ import annotations

import json
import re
from itertools import combinations

from rabbit_topology.watch import build, dashboard, metrics
from tests.support.watched import EVERYTHING, networks


def document(topology=EVERYTHING):
    chosen = networks(topology)
    return dashboard.document("prod", "j", build.watched(chosen), [*build.services(chosen)])


def rows(shown):
    """Return the titles of the panels below each row's."""
    result = {}
    for panel in shown["panels"]:
        if panel["type"] == "row":
            below = result.setdefault(panel["title"], [])
        else:
            below.append(panel["title"])
    return result


def panel(shown, row, title):
    panels = iter(shown["panels"])
    next(one for one in panels if one["title"] == row)
    return next(one for one in panels if one["title"] == title)


def test_rows_for_services_and_for_kinds_of_queues():
    assert rows(document()) == {
        "At a glance": [
            *("Parking lots", "Dead letters", "Unroutable messages", "Without a consumer")
        ],
        "Service gateway": ["Where its messages wait"],
        "Service billing": ["Ready", "In its hands", "Consumers"],
        "Service audit": ["Ready", "In its hands", "Consumers"],
        "Service odd {{service}}": [
            *("Ready", "In its hands", "Consumers", "Where its messages wait")
        ],
        "Parking lots": ["Messages"],
        "Dead letters": ["Messages"],
        "Unroutable messages": ["Messages"],
        "Retries and delays": ["Messages"],
        "Queues": ["Messages", "Consumers"],
        "Streams": ["Messages"],
        "Limits": ["How full"],
    }


def test_a_publisher_sees_the_queues_that_its_messages_get_into():
    (target,) = panel(document(), "Service gateway", "Where its messages wait")["targets"]
    assert r'queue=~"orders\\.unroutable|new|paid"' in target["expr"]


def test_how_full_is_a_part_of_each_limit():
    targets = panel(document(), "Limits", "How full")["targets"]
    by_limit = {one["expr"].rpartition(" / ")[2]: one["expr"] for one in targets}
    assert by_limit.keys() == {"1000", "50", "1000000", "10"}
    assert "_ready_bytes{" in by_limit["1000000"]
    assert 'queue="jobs"' in by_limit["50"]


def test_panels_have_a_place_of_their_own_and_a_number():
    panels = document()["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    for one, other in combinations((one["gridPos"] for one in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
        assert one["x"] + one["w"] <= 24


def test_each_query_asks_the_chosen_data_source_for_metrics_that_there_are():
    shown = document()
    (variable,) = shown["templating"]["list"]
    assert (variable["name"], variable["query"]) == ("datasource", "prometheus")
    queries = [target for one in shown["panels"] for target in one.get("targets", ())]
    assert len(queries) > 20
    for target in queries:
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        used = set(re.findall(r"rabbitmq_\w+(?=\{)", target["expr"]))
        assert used
        assert used <= set(metrics.FAMILIES)
        # What Grafana would fill in, had a queue such a name.
        assert "$" not in target["expr"]
        assert "[[" not in target["expr"]


def test_with_several_vhosts_rows_and_legends_say_which():
    one = {"queues": {"q": {"dead_letter": True}}, "services": {"s": {"consumes": ["q"]}}}
    shown = document({"vhosts": {"a": one, "b": one}})
    assert {"Service s of vhost a", "Service s of vhost b"} < rows(shown).keys()
    dead = panel(shown, "Dead letters", "Messages")["targets"]
    assert [target["legendFormat"] for target in dead] == ["{{vhost}}: {{queue}}"] * 2
    glance = panel(shown, "At a glance", "Without a consumer")["targets"][0]["expr"]
    assert glance.count("rabbitmq_detailed_queue_consumers{") == 2
    assert glance.endswith("== 0) or vector(0)")


def test_the_same_stack_has_the_same_address_and_is_json():
    shown = document()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["uid"] == document()["uid"]
    assert len(shown["uid"]) <= 40
    assert shown["schemaVersion"] == 42


def test_a_stack_without_queues_has_no_rows():
    assert document({"vhost": "v"})["panels"] == []
