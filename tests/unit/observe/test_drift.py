"""
A broker's definitions beside a config: what is said to be changed, missing, and not declared.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from rabbit_topology.adopt import definitions
from rabbit_topology.config.stack import Stack
from rabbit_topology.errors import TopologyError
from rabbit_topology.lint.reading import read
from rabbit_topology.observe import comparison, drift_reports, ignores
from rabbit_topology.observe.comparison import Unmanaged
from rabbit_topology.observe.drift import Drift, Report
from rabbit_topology.observe.ignores import Ignored
from tests.support.exports import export, hashed
from tests.support.repository import ROOT

SHOP: dict[str, Any] = {
    "vhost": "shop",
    "vhost_settings": {"description": "of the shop", "limits": {"max_queues": 50}},
    "exchanges": {"orders": {"type": "topic", "unroutable": True}, "plain": {}},
    "queues": {
        "orders": {
            "retry": {"delays": ["5s"]},
            "max_length": 100,
            "overflow": "reject-publish",
        },
        "jobs": {"type": "classic", "arguments": {"x-max-priority": 4}},
        "log": {"type": "stream", "max_age": "1d"},
    },
    "bindings": [{"source": "orders", "queue": "orders", "routing_keys": ["order.*", "a"]}],
    "policies": {"ttl": {"pattern": "^jobs$", "definition": {"message-ttl": 60000}}},
    "operator_policies": {"cap": {"pattern": "^j", "definition": {"max-length": 9000}}},
    "services": {"billing": {"consumes": ["orders"]}, "web": {"publishes": ["orders"]}},
    "users": {"watcher": {"tags": ["monitoring"], "permissions": {"read": ".*"}}},
    "shovels": {
        "mover": {
            "source_uri": "amqp:///shop",
            "destination_uri": "amqp:///shop",
            "source_queue": "jobs",
            "destination_queue": "log",
        }
    },
    "federation_upstreams": {"far": {"uri": "amqp://far"}},
}


def password(name: str, _user: object) -> str:
    return f"password of {name}"


def checked(topology: dict[str, Any]) -> Stack:
    stack = read(topology)
    stack.check()
    return stack


def compared(
    topology: dict[str, Any],
    held: dict[str, Any],
    password_of: Any = password,
    counted: Unmanaged = Unmanaged.OWN,
    ignored: tuple[Ignored, ...] = (),
) -> Report:
    return comparison.compare(
        checked(topology),
        definitions.parse(held, "http://broker"),
        password_of,
        endpoint="http://broker",
        username="admin",
        counted=counted,
        ignored=ignored,
    )


def titles(report: Report) -> list[str]:
    return [f"{one.state} {one.title}" for one in report.open]


def only(report: Report) -> Drift:
    (one,) = report.open
    return one


def said(one: Drift) -> list[str]:
    return [str(each) for each in one.differences]


@pytest.fixture
def held() -> dict[str, Any]:
    return export(checked(SHOP), password)


def named(held: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """Return one object of an export, of a user's permissions by the user's name."""
    return next(one for one in held[key] if one.get("name", one.get("user")) == name)


def test_what_is_deployed_is_no_drift(held):
    report = compared(SHOP, held)
    assert report.open == []
    assert report.equal == sum(
        len(held[key]) for key in ("vhosts", "users", "policies", "queues", "exchanges", "bindings")
    ) + len(held["permissions"]) + len(held["topic_permissions"]) + sum(
        one["component"] != "vhost-limits" for one in held["parameters"]
    )
    assert report.summary().startswith(f"no drift: {report.equal} objects")


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda one: one.stem
)
def test_no_example_drifts_from_what_it_deploys(example):
    config = yaml.safe_load(example.read_text())["config"]
    topology = config["rabbit-topology:topology"]
    assert compared(topology, export(checked(topology), password)).open == []


@pytest.mark.parametrize(
    ("key", "name", "change", "title", "line"),
    [
        ("exchanges", "plain", {"internal": True}, "exchange plain", "internal: true -> false"),
        ("exchanges", "plain", {"type": "fanout"}, "exchange plain", 'type: "fanout" -> "direct"'),
        (
            *("queues", "jobs", {"arguments": {"x-queue-type": "classic", "x-max-priority": 9}}),
            *("queue jobs", "x-max-priority: 9 -> 4"),
        ),
        (
            *("queues", "log", {"arguments": {"x-queue-type": "quorum"}}),
            *("queue log", 'x-queue-type: "quorum" -> "stream"'),
        ),
        ("policies", "ttl", {"priority": 7}, "policy ttl", "priority: 7 -> 0"),
        ("permissions", "watcher", {"write": ".*"}, "permissions watcher", 'write: ".*" -> "^$"'),
        ("users", "watcher", {"tags": ["administrator"]}, "user watcher", "tags: "),
        (
            *("users", "shop.billing", {"password_hash": hashed("guessed")}),
            *("user shop.billing", "password: another"),
        ),
        (
            *("vhosts", "shop", {"metadata": {"description": "ours", "tags": ["x"]}}),
            *("vhost shop", 'description: "ours" -> "of the shop"'),
        ),
        (
            *("vhosts", "shop", {"metadata": {"default_queue_type": "quorum"}}),
            *("vhost shop", 'default_queue_type: "quorum" -> none'),
        ),
    ],
)
def test_each_field_that_somebody_has_changed_is_named(held, key, name, change, title, line):
    named(held, key, name).update(change)
    changed = [one for one in compared(SHOP, held).open if one.state == "changed"]
    assert [one.title for one in changed] == [title]
    assert any(each.startswith(line) for each in said(changed[0])), said(changed[0])
    actions = [mend.action for mend in changed[0].mends]
    # What no config can say, an internal exchange, can only be made again.
    assert actions == (["remake"] if "internal" in change else ["remake", "adopt"])


@pytest.mark.parametrize(
    ("component", "change", "title", "line"),
    [
        ("vhost-limits", {"max-queues": 9}, "vhost shop", "max-queues: 9 -> 50"),
        (
            *("operator_policy", {"definition": {"max-length": 5}}),
            *("operator policy cap", "max-length: 5 -> 9000"),
        ),
        ("shovel", {"src-prefetch-count": 1}, "shovel mover", "src-prefetch-count: 1 -> 1000"),
        ("shovel", {"src-uri": "amqp://u:p@x"}, "shovel mover", "src-uri: another"),
        ("federation-upstream", {"max-hops": 3}, "federation upstream far", "max-hops: 3 -> 1"),
    ],
)
def test_parameters_are_compared_too(held, component, change, title, line):
    parameter = next(one for one in held["parameters"] if one["component"] == component)
    parameter["value"].update(change)
    first = compared(SHOP, held).open[0]
    assert (first.title, said(first)) == (title, [line])


def test_the_secret_of_a_uri_is_not_shown(held):
    parameter = next(one for one in held["parameters"] if one["component"] == "shovel")
    parameter["value"]["src-uri"] = "amqp://u:hidden@x"
    assert "hidden" not in str(compared(SHOP, held))


def test_a_setting_that_a_policy_of_ours_makes_is_told_by_the_setting_s_place(held):
    (compiled,) = (one for one in held["policies"] if "max-length" in one["definition"])
    compiled["definition"]["max-length"] = 7
    changed, overruled = compared(SHOP, held).open
    assert (changed.state, changed.path) == ("changed", "topology.queues.orders")
    assert said(changed) == ["max-length: 7 -> 100"]
    assert (overruled.state, overruled.title) == ("overruled", "queue orders")


@pytest.mark.parametrize(
    ("key", "name", "title"),
    [
        ("vhosts", "shop", "vhost shop"),
        ("exchanges", "plain", "exchange plain"),
        ("queues", "jobs", "queue jobs"),
        ("policies", "ttl", "policy ttl"),
        ("users", "watcher", "user watcher"),
        ("permissions", "watcher", "permissions watcher"),
        ("topic_permissions", "shop.web", "topic permissions shop.web"),
    ],
)
def test_what_is_deleted_by_hand_is_missing(held, key, name, title):
    held[key].remove(named(held, key, name))
    if key == "vhosts":
        for each in ("queues", "exchanges", "bindings", "policies", "permissions", "parameters"):
            held[each] = []
        held["topic_permissions"] = []
    assert titles(compared(SHOP, held)) == [f"missing {title}"]


def test_a_binding_is_missing_with_its_place(held):
    held["bindings"] = [one for one in held["bindings"] if one["routing_key"] != "a"]
    one = only(compared(SHOP, held))
    assert (one.title, one.path) == ("binding orders -[a]-> orders", "topology.bindings[0]")


def test_what_a_pattern_makes_stands_with_the_pattern(held):
    held["queues"].remove(named(held, "queues", "orders.parking-lot"))
    held["exchanges"].remove(named(held, "exchanges", "orders.unroutable"))
    paths = {one.title: one.path for one in compared(SHOP, held).open}
    assert paths["queue orders.parking-lot"] == "topology.queues.orders"
    assert paths["exchange orders.unroutable"] in (
        "topology.exchanges.orders",
        "topology.queues.orders",
    )


def others(held: dict[str, Any], vhost: str = "shop") -> None:
    """Add what somebody has made by hand."""
    plain = {"vhost": vhost, "durable": True, "auto_delete": False, "arguments": {}}
    held["queues"].append({**plain, "name": "tmp", "arguments": {"x-queue-type": "quorum"}})
    held["exchanges"].append({**plain, "name": "side", "type": "fanout", "internal": False})
    binding = {"vhost": vhost, "source": "side", "destination": "tmp", "destination_type": "queue"}
    held["bindings"].append({**binding, "routing_key": "k", "arguments": {}})
    held["permissions"].append(
        {"vhost": vhost, "user": "app", "configure": "", "write": ".*", "read": ""}
    )


def test_what_is_not_declared_is_named_with_what_would_declare_it(held):
    others(held)
    report = compared(SHOP, held)
    assert titles(report) == [
        "unmanaged exchange side",
        "unmanaged queue tmp",
        "unmanaged permissions app",
        "unmanaged binding side -[k]-> tmp",
    ]
    adopt = [mend.do for one in report.open for mend in one.mends if mend.action == "adopt"]
    assert adopt == [
        "topology.exchanges.side: {type: fanout}",
        "topology.queues.tmp: {}",
        'topology.users.app: {exists: true, permissions: {configure: "", write: ".*", read: ""}}',
        "topology.bindings: [{source: side, queue: tmp, routing_key: k}]",
    ]


def test_what_would_declare_it_ends_the_drift(held):
    others(held)
    topology = copy.deepcopy(SHOP)
    for one in compared(SHOP, held).open:
        (mend,) = (mend for mend in one.mends if mend.action == "adopt")
        where, _, value = mend.do.partition(": ")
        _, section, *name = where.split(".")
        if name:
            topology[section][name[0]] = yaml.safe_load(value)
        else:
            topology[section] += yaml.safe_load(value)
    assert compared(topology, held).open == []


def test_what_the_broker_a_service_or_this_program_makes_is_not_counted(held):
    plain = {"vhost": "shop", "durable": True, "auto_delete": False, "arguments": {}}
    held["exchanges"].append({**plain, "name": "amq.topic", "type": "topic"})
    for name in ("amq.gen-x", "mqtt-subscription-x", "rabbit-topology.held.orders", "own.1"):
        held["queues"].append({**plain, "name": name})
        held["bindings"].append(
            {
                "vhost": "shop",
                "source": "orders",
                "destination": name,
                "destination_type": "queue",
                "routing_key": "x",
                "arguments": {},
            }
        )
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    held["permissions"].append({"vhost": "shop", "user": "admin", **everything})
    topology = copy.deepcopy(SHOP)
    topology["services"]["reports"] = {"declares": ["own.*"]}
    had = export(checked(topology), password)
    for key in ("exchanges", "queues", "bindings"):
        had[key] += [one for one in held[key] if one not in had[key]]
    had["permissions"].append(held["permissions"][-1])
    assert compared(topology, had).open == []


def test_a_user_of_before_a_rotation_is_no_other():
    topology = copy.deepcopy(SHOP)
    topology["services"]["reports"] = {"rotates": "user", "rotation": 2}
    had = export(checked(topology), password)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    for user in ("shop.reports", "shop.reports.x", "shop.reports.0"):
        had["permissions"].append({"vhost": "shop", "user": user, **everything})
    assert titles(compared(topology, had)) == [
        "unmanaged permissions shop.reports.x",
        "unmanaged permissions shop.reports.0",
    ]


def test_in_a_vhost_of_others_only_what_touches_the_stack_counts():
    topology = {**SHOP, "vhost_settings": {"exists": True}}
    held = export(checked(topology), password)
    others(held)
    to_ours = {"source": "side", "destination": "jobs", "destination_type": "queue"}
    held["bindings"].append({"vhost": "shop", "routing_key": "z", "arguments": {}, **to_ours})
    policy(held, pattern="^tmp", definition={"max-length": 1})
    policy(held, name="ours", pattern="^jobs", priority=-1, definition={"max-length": 1})
    report = compared(topology, held)
    assert titles(report) == ["unmanaged policy ours", "unmanaged binding side -[z]-> jobs"]
    assert report.others == {"shop": 5}
    assert len(compared(topology, held, counted=Unmanaged.ALL).open) == 7
    assert compared(topology, held, counted=Unmanaged.NONE).open == []


def test_what_is_in_no_vhost_of_the_stack_is_others(held):
    held["vhosts"].append({"name": "other", "metadata": {}})
    others(held, "other")
    assert compared(SHOP, held).open == []


def policy(held: dict[str, Any], **settings: Any) -> None:
    body = {"vhost": "shop", "name": "by-hand", "pattern": "", "priority": 900}
    body["apply-to"] = "queues"
    held["policies"].append({**body, **settings})


def test_a_policy_that_takes_the_place_of_ours_says_what_applies_then(held):
    policy(held, pattern="^orders$", definition={"message-ttl": 1000})
    overruled, unmanaged = compared(SHOP, held).open
    assert (overruled.state, overruled.title) == ("overruled", "queue orders")
    assert "max-length: none -> 100" in said(overruled)
    assert "message-ttl: 1000 -> none" in said(overruled)
    assert said(overruled)[-1] == "by: policy by-hand"
    assert unmanaged.title == "policy by-hand"


def test_a_policy_of_others_that_does_not_win_changes_nothing(held):
    policy(held, pattern="^orders$", priority=-1, definition={"message-ttl": 1000})
    assert titles(compared(SHOP, held)) == ["unmanaged policy by-hand"]


def test_a_policy_that_is_switched_off_by_a_key_of_another_type_does_not_overrule(held):
    policy(held, pattern="^orders$", definition={"queue-mode": "lazy", "message-ttl": 1000})
    assert titles(compared(SHOP, held)) == ["unmanaged policy by-hand"]


def test_a_policy_for_all_reaches_exchanges_as_well(held):
    policy(held, **{"pattern": "^orders$", "apply-to": "all", "definition": {"queue-mode": "lazy"}})
    overruled = compared(SHOP, held).open[0]
    assert overruled.title == "exchange orders"
    assert 'alternate-exchange: none -> "orders.unroutable"' in said(overruled)


def test_what_means_nothing_for_an_exchange_does_not_overrule_it(held):
    policy(held, **{"pattern": "^plain$", "apply-to": "all", "definition": {"max-length": 3}})
    assert titles(compared(SHOP, held)) == ["unmanaged policy by-hand"]


def test_an_operator_policy_of_others_overrules(held):
    value = {"pattern": "^jobs", "apply-to": "queues", "priority": 9}
    value["definition"] = {"max-length": 3}
    held["parameters"].append(
        {"vhost": "shop", "component": "operator_policy", "name": "o", "value": value}
    )
    overruled = compared(SHOP, held).open[0]
    assert said(overruled) == ["max-length: 3 -> 9000", "by: operator policy o"]


def test_passwords_that_are_not_known_are_not_compared_and_that_is_said(held):
    report = compared(SHOP, held, password_of=lambda _name, _user: None)
    assert report.open == []
    assert report.unchecked == (
        "passwords of shop.billing, shop.web, watcher: they are not known here",
    )


def test_a_uri_that_is_encrypted_is_not_compared_and_that_is_said(held):
    topology = copy.deepcopy(SHOP)
    topology["shovels"]["mover"]["source_uri"] = "[secret]"
    report = compared(topology, held)
    assert report.open == []
    assert report.unchecked == ("URIs of shovel mover: they are encrypted in the config",)


def test_vhost_limits_are_mended_by_a_request_as_the_provider_does_not_read_them(held):
    held["parameters"] = [one for one in held["parameters"] if one["component"] != "vhost-limits"]
    one = only(compared(SHOP, held))
    assert said(one) == ["max-queues: none -> 50"]
    assert one.mends[0].do == (
        "curl -u admin -X PUT http://broker/api/vhost-limits/shop/max-queues "
        "-H 'content-type: application/json' -d '{\"value\": 50}'"
    )


def test_several_vhosts_each_have_their_paths():
    topology = {"vhosts": {"a": {"queues": {"x.y": {}}}, "b": {"queues": {"q": {}}}}}
    held = export(checked(topology), password)
    held["queues"] = []
    assert [one.path for one in compared(topology, held).open] == [
        'topology.vhosts.a.queues["x.y"]',
        "topology.vhosts.b.queues.q",
    ]


def test_what_the_broker_deletes_by_itself_says_so():
    topology = {"vhost": "v", "queues": {"q": {"expires": "1h"}}}
    held = export(checked(topology), password)
    held["queues"] = []
    one = only(compared(topology, held))
    assert said(one) == ["note: the broker deletes it when it is unused, or at a restart"]


def test_a_name_with_control_characters_does_not_reach_the_terminal(held):
    plain = {"vhost": "shop", "durable": True, "auto_delete": False, "arguments": {}}
    held["queues"].append({**plain, "name": "a\x1b[2Jb\n### c"})
    report = compared(SHOP, held)
    text = "\n".join(line for _, line in drift_reports.text(report))
    assert "queue a\\x1b[2Jb\\n### c of vhost shop" in text
    assert "\x1b" not in text + drift_reports.markdown(report, "prod")
    assert "\n### c" not in drift_reports.markdown(report, "prod")


class TestIgnores:
    def entry(self, **stated: Any) -> Ignored:
        return Ignored(reason="meant so", **stated)

    def test_what_is_ignored_is_no_drift_and_stays_visible(self, held):
        others(held)
        ignored = (self.entry(object="* side*"), self.entry(object="*tmp", vhost="shop"))
        report = compared(SHOP, held, ignored=(*ignored, self.entry(object="permissions app")))
        assert report.open == []
        assert {one.ignored for one in report.drifts} == {"meant so"}
        assert report.counts()["ignored"] == 4

    def test_only_some_fields_of_an_object(self, held):
        named(held, "vhosts", "shop")["metadata"] = {"description": "ours", "tags": ["x"]}
        report = compared(SHOP, held, ignored=(self.entry(object="vhost shop", fields=("tags",)),))
        assert said(only(report)) == ['description: "ours" -> "of the shop"']
        assert report.counts() == {
            "changed": 1,
            "overruled": 0,
            "missing": 0,
            "unmanaged": 0,
            "ignored": 1,
        }

    def test_one_of_another_vhost_ignores_nothing_and_is_named(self, held):
        others(held)
        report = compared(SHOP, held, ignored=(self.entry(object="queue tmp", vhost="other"),))
        assert len(report.open) == 4
        assert report.unused == ("queue tmp: meant so",)

    def test_brackets_and_dots_in_names_mean_themselves(self, held):
        others(held)
        odd = (self.entry(object="queue t.p"), self.entry(object="queue tm"))
        report = compared(SHOP, held, ignored=odd)
        assert len(report.unused) == 2

    def test_a_file_is_read(self, tmp_path):
        file = tmp_path / "ignore.yaml"
        file.write_text("ignore:\n- {object: queue tmp, fields: [a], reason: because}\n")
        (one,) = ignores.read(file)
        assert (one.object, one.fields, one.reason) == ("queue tmp", ("a",), "because")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("ignore:\n- {object: queue tmp}\n", r"ignore\[0\].reason: Field required"),
            ("[]\n", "the file: "),
            ("ignore: [", "ignore.yaml: "),
            ("ignore:\n- {object: a, reason: b, path: c}\n", r"ignore\[0\].path: Extra"),
        ],
    )
    def test_a_file_that_says_something_else_is_an_error(self, tmp_path: Path, text, message):
        file = tmp_path / "ignore.yaml"
        file.write_text(text)
        with pytest.raises(TopologyError, match=message):
            ignores.read(file)
