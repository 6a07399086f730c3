"""
Answers in full: as text for people, and as JSON for other programs, which count on its keys.
"""

from __future__ import annotations

import pytest

from rabbit_topology.lint.reading import read
from rabbit_topology.routing import as_json, changes, expectations, reports, text
from rabbit_topology.routing.network import Network
from rabbit_topology.routing.publication import publish
from rabbit_topology.routing.reach import Reach

TOPOLOGY = {
    "vhost": "v",
    "exchanges": {
        "orders": {"type": "topic", "unroutable": True},
        "by_kind": {"type": "headers"},
        "slow": {"type": "x-delayed-message", "arguments": {"x-delayed-type": "topic"}},
    },
    "queues": {
        "billing": {"type": "classic", "retry": {"delays": ["5s"]}},
        "audit": {"type": "stream"},
        "brief": {
            "type": "classic",
            "message_ttl": "1m",
            "dead_letter": {"exchange": "orders", "routing_key": "late"},
        },
    },
    "bindings": [
        {"source": "orders", "queue": "billing", "routing_key": "order.*"},
        {"source": "orders", "queue": "audit", "routing_key": "#.new"},
        {"source": "orders", "exchange": "by_kind", "routing_key": "order.new"},
        {"source": "by_kind", "queue": "brief", "arguments": {"x-match": "all", "kind": "a"}},
        {"source": "slow", "queue": "audit", "routing_key": "x"},
    ],
    "services": {"shop": {"publishes": [{"exchange": "orders", "routing_key": "order.*"}]}},
    "users": {
        "ops": {
            "permissions": {"write": "^orders$"},
            "topic_permissions": {"orders": {"write": "^order"}},
        }
    },
}


def stack(**changed):
    whole = read({**TOPOLOGY, **changed}, {"version": "4.0"})
    assert not whole.errors
    return whole


def network(**changed):
    (one,) = Network.every(stack(**changed)).values()
    return one


def sent(exchange, routing_key, **more):
    return publish(network(), exchange, routing_key, **more)


def test_the_way_of_a_message_as_text():
    shown = text.trace(sent("orders", "order.new", headers={"kind": "a"}))
    assert (
        shown + "\n"
        == """\
published to exchange orders with "order.new" and {"kind": "a"}
└── topic exchange orders
    ├── classic queue billing  <- "order.*", topology.bindings[0]
    ├── stream queue audit  <- "#.new", topology.bindings[1]
    └── headers exchange by_kind  <- "order.new", topology.bindings[2]
        └── classic queue brief  <- {"x-match": "all", "kind": "a"}, topology.bindings[3]
gets into audit, billing, brief
then, in billing
└── if it is rejected
    ├── rejected: to exchange billing.retry with "order.new", topology.queues.billing.retry
    ├── at once in billing.retry.1
    ├── after 5s expired: to exchange billing.retry.back with "billing.retry.2",
    │   topology.queues.billing.retry
    ├── after 5s in billing
    ├── rejected for the 2nd time: to exchange billing.retry with "billing.retry.2",
    │   topology.queues.billing.retry
    └── after 5s in billing.parking-lot, where it stays
then, in brief
├── if it expires
│   ├── after 1m expired: to exchange orders with "late", topology.queues.brief.dead_letter
│   └── after 1m in orders.unroutable, where it stays
└── if it is rejected
    ├── rejected: to exchange orders with "late", topology.queues.brief.dead_letter
    └── at once in orders.unroutable, where it stays
"""
    )


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (("slow", "x", {"x-delay": 5000}), "x-delayed-message exchange slow, kept 5s first"),
        (("slow", "x", {}), "x-delayed-message exchange slow"),
        (("slow", "y", {}), "no binding takes it"),
        (("", "audit", {}), "stream queue audit  <- by its name, topology.queues.audit"),
        (
            ("orders", "none", {}),
            "fanout exchange orders.unroutable  <- no binding takes it: alternate exchange,",
        ),
    ],
)
def test_a_hop_says_what_happens_there(message, line):
    exchange, routing_key, headers = message
    shown = text.trace(sent(exchange, routing_key, headers=headers)).splitlines()
    assert line in [one.strip("│├└─ ") for one in shown]


def test_the_way_of_a_message_as_json():
    message = sent("by_kind", "k", headers={"kind": "a"}, expiration=1000)
    assert as_json.trace(message) == {
        "exchange": "by_kind",
        "routing_keys": ["k"],
        "headers": {"kind": "a"},
        "expiration": 1000,
        "reaches": ["brief"],
        "may_reach": [],
        "dropped": False,
        "hops": {
            "kind": "exchange",
            "name": "by_kind",
            "type": "headers",
            "by": None,
            "certain": True,
            "seen": False,
            "after": 0,
            "notes": [],
            "hops": [
                {
                    "kind": "queue",
                    "name": "brief",
                    "type": "classic",
                    "by": {
                        "way": "binding",
                        "source": "by_kind",
                        "kind": "queue",
                        "destination": "brief",
                        "routing_key": "",
                        "arguments": {"x-match": "all", "kind": "a"},
                        "path": "topology.bindings[3]",
                    },
                    "certain": True,
                    "seen": False,
                    "after": 0,
                    "notes": [],
                    "hops": [],
                }
            ],
        },
        "then": {
            "brief": {
                "expired": {
                    "queue": "brief",
                    "at": 0,
                    "death": {
                        "reason": "expired",
                        "at": 1000,
                        "count": 1,
                        "exchange": "orders",
                        "routing_keys": ["late"],
                        "path": "topology.queues.brief.dead_letter",
                        "cycles": [],
                        "end": None,
                        "then": [
                            {
                                "queue": "orders.unroutable",
                                "at": 1000,
                                "death": None,
                                "end": "stays",
                            }
                        ],
                    },
                    "end": None,
                },
                "rejected": {
                    "queue": "brief",
                    "at": 0,
                    "death": {
                        "reason": "rejected",
                        "at": 0,
                        "count": 1,
                        "exchange": "orders",
                        "routing_keys": ["late"],
                        "path": "topology.queues.brief.dead_letter",
                        "cycles": [],
                        "end": None,
                        "then": [
                            {"queue": "orders.unroutable", "at": 0, "death": None, "end": "stays"}
                        ],
                    },
                    "end": None,
                },
            }
        },
    }


def test_what_leads_to_a_queue():
    report = reports.of_queue(Reach(network()), "billing")
    assert (
        text.queue(report) + "\n"
        == """\
queue billing
├── from exchange orders
│   ├── order.*
│   └── by topology.bindings[0]
├── from exchange billing.retry.back
│   ├── every key
│   └── by topology.queues.billing.retry
├── from the default exchange, by its name "billing"
├── dead letters of billing.retry.1, by exchange billing.retry.back with "billing.retry.2"
├── service shop, for example by exchange orders with "order.x"
└── user ops, perhaps, for example by exchange orders with "order.x"
"""
    )
    assert as_json.queue(report) == {
        "queue": "billing",
        "exchanges": [
            {
                "exchange": "orders",
                "certain": True,
                "messages": [
                    {
                        "pattern": "order.*",
                        "without": [],
                        "headers": "",
                        "example": {"routing_key": "order.x", "headers": {}},
                    }
                ],
                "bindings": [
                    {
                        "way": "binding",
                        "source": "orders",
                        "kind": "queue",
                        "destination": "billing",
                        "routing_key": "order.*",
                        "arguments": {},
                        "path": "topology.bindings[0]",
                    }
                ],
            },
            {
                "exchange": "billing.retry.back",
                "certain": True,
                "messages": [
                    {
                        "pattern": "#",
                        "without": [],
                        "headers": "",
                        "example": {"routing_key": "", "headers": {}},
                    }
                ],
                "bindings": [
                    {
                        "way": "binding",
                        "source": "billing.retry.back",
                        "kind": "queue",
                        "destination": "billing",
                        "routing_key": "",
                        "arguments": {},
                        "path": "topology.queues.billing.retry",
                    }
                ],
            },
        ],
        "dead_letters": [
            {
                "queue": "billing.retry.1",
                "exchange": "billing.retry.back",
                "routing_key": "billing.retry.2",
            }
        ],
        "publishers": [
            {
                "name": "shop",
                "kind": "service",
                "path": "topology.services.shop",
                "examples": {"orders": "order.x"},
            },
            {
                "name": "ops",
                "kind": "user",
                "path": "topology.users.ops",
                "examples": {"orders": "order.x"},
            },
        ],
    }


def test_what_nobody_may_publish_to_says_so():
    few = network(services={"crm": {"publishes": ["by_kind"]}}, users={})
    shown = text.queue(reports.of_queue(Reach(few), "billing"))
    assert shown.splitlines()[-1] == "└── no service or user may publish there"


@pytest.mark.parametrize(
    ("name", "as_text", "in_json"),
    [
        (
            "shop",
            """\
service shop
├── may publish to exchange orders with order.*
├── can reach queue billing, for example by exchange orders with "order.x"
├── can reach queue audit, for example by exchange orders with "order.new"
├── can reach queue brief, for example by exchange orders with "order.new"
├── can reach queue billing.parking-lot later, as dead letters
├── can reach queue billing.retry.1 later, as dead letters
└── can reach queue orders.unroutable later, as dead letters
""",
            {
                "name": "shop",
                "kind": "service",
                "path": "topology.services.shop",
                "exchanges": {"orders": ["order.*"]},
                "inexact": [],
                "queues": [
                    {"queue": "billing", "examples": {"orders": "order.x"}},
                    {"queue": "audit", "examples": {"orders": "order.new"}},
                    {"queue": "brief", "examples": {"orders": "order.new"}},
                ],
                "later": ["billing.parking-lot", "billing.retry.1", "orders.unroutable"],
            },
        ),
        (
            "ops",
            """\
user ops
├── may publish to exchange orders with any key, less what its topic permissions refuse
├── can reach queue orders.unroutable, for example by exchange orders with ""
├── can reach queue billing, for example by exchange orders with "order.x"
├── can reach queue audit, for example by exchange orders with "new"
├── can reach queue brief, for example by exchange orders with "order.new"
├── can reach queue billing.parking-lot later, as dead letters
└── can reach queue billing.retry.1 later, as dead letters
""",
            {
                "name": "ops",
                "kind": "user",
                "path": "topology.users.ops",
                "exchanges": {"orders": ["#"]},
                "inexact": ["orders"],
                "queues": [
                    {"queue": "orders.unroutable", "examples": {"orders": ""}},
                    {"queue": "billing", "examples": {"orders": "order.x"}},
                    {"queue": "audit", "examples": {"orders": "new"}},
                    {"queue": "brief", "examples": {"orders": "order.new"}},
                ],
                "later": ["billing.parking-lot", "billing.retry.1"],
            },
        ),
    ],
)
def test_what_a_service_or_a_user_can_cause(name, as_text, in_json):
    report = reports.of_publisher(Reach(network()), name)
    assert text.publisher(report) + "\n" == as_text
    assert as_json.publisher(report) == in_json


NOW = {
    "exchanges": {name: TOPOLOGY["exchanges"][name] for name in ("orders", "by_kind")},
    "queues": {**TOPOLOGY["queues"], "audit": {"type": "stream", "max_age": "1h"}},
    "bindings": [
        {"source": "orders", "queue": "billing", "routing_key": "order.new"},
        {"source": "orders", "queue": "audit", "routing_key": "#"},
        *TOPOLOGY["bindings"][1:3],
    ],
}


def test_what_is_different():
    compared = changes.compare(network(), network(**NOW))
    assert (
        text.changes("v", compared) + "\n"
        == """\
vhost v: 10 differences
├── exchange slow is gone: what is published to it is refused
├── # but not order.*, #.new, order.new on exchange orders no longer reaches orders.unroutable, for
│   example ""; now only audit
├── order.* but not order.new on exchange orders no longer reaches billing, for example "order.x";
│   now only audit
├── # but not #.new on exchange orders now reaches audit, for example ""; beside orders.unroutable
├── every key with kind = "a" on exchange by_kind no longer reaches brief, for example "" with
│   {"kind": "a"}; now dropped
├── order.new with kind = "a" on exchange orders no longer reaches brief, for example "order.new"
│   with {"kind": "a"}; now only audit, billing
├── no exchange leads to queue brief any more
├── topology.bindings[2]: the binding adds nothing, others take the same to queue audit
├── service shop can now reach queue audit with more messages, for example by exchange orders with
│   "order.x"
└── user ops can now reach queue audit with more messages, for example by exchange orders with ""
"""
    )
    assert as_json.changes(compared) == {
        "changes": [
            {
                "exchange": "orders",
                "through": [],
                "queue": "orders.unroutable",
                "gained": False,
                "messages": [
                    {
                        "pattern": "#",
                        "without": ["order.*", "#.new", "order.new"],
                        "headers": "",
                        "example": {"routing_key": "", "headers": {}},
                    }
                ],
                "example": {"routing_key": "", "headers": {}},
                "now": ["audit"],
            },
            {
                "exchange": "orders",
                "through": [],
                "queue": "billing",
                "gained": False,
                "messages": [
                    {
                        "pattern": "order.*",
                        "without": ["order.new"],
                        "headers": "",
                        "example": {"routing_key": "order.x", "headers": {}},
                    }
                ],
                "example": {"routing_key": "order.x", "headers": {}},
                "now": ["audit"],
            },
            {
                "exchange": "orders",
                "through": [],
                "queue": "audit",
                "gained": True,
                "messages": [
                    {
                        "pattern": "#",
                        "without": ["#.new"],
                        "headers": "",
                        "example": {"routing_key": "", "headers": {}},
                    }
                ],
                "example": {"routing_key": "", "headers": {}},
                "before": ["orders.unroutable"],
            },
            {
                "exchange": "by_kind",
                "through": [],
                "queue": "brief",
                "gained": False,
                "messages": [
                    {
                        "pattern": "#",
                        "without": [],
                        "headers": 'kind = "a"',
                        "example": {"routing_key": "", "headers": {"kind": "a"}},
                    }
                ],
                "example": {"routing_key": "", "headers": {"kind": "a"}},
                "now": [],
            },
            {
                "exchange": "orders",
                "through": [],
                "queue": "brief",
                "gained": False,
                "messages": [
                    {
                        "pattern": "order.new",
                        "without": [],
                        "headers": 'kind = "a"',
                        "example": {"routing_key": "order.new", "headers": {"kind": "a"}},
                    }
                ],
                "example": {"routing_key": "order.new", "headers": {"kind": "a"}},
                "now": ["audit", "billing"],
            },
        ],
        "unreachable": ["brief"],
        "redundant": [
            {
                "way": "binding",
                "source": "orders",
                "kind": "queue",
                "destination": "audit",
                "routing_key": "#.new",
                "arguments": {},
                "path": "topology.bindings[2]",
            }
        ],
        "further": [
            {
                "publisher": "shop",
                "kind": "service",
                "queue": "audit",
                "new": False,
                "example": {"exchange": "orders", "routing_key": "order.x", "headers": {}},
            },
            {
                "publisher": "ops",
                "kind": "user",
                "queue": "audit",
                "new": False,
                "example": {"exchange": "orders", "routing_key": "", "headers": {}},
            },
        ],
        "settings": [],
        "gone": ["slow"],
        "undecided": [],
    }


def test_what_does_not_hold():
    expected = [
        {"publish": {"exchange": "orders", "routing_key": "none"}, "reaches": ["audit"]},
        {"queue": "audit", "only_from": ["orders"]},
    ]
    failed = expectations.check(read(TOPOLOGY, {"version": "4.0"}, expect=expected))
    first, second = (str(failure.problem) for failure in failed)
    assert (
        text.failures(2, failed)
        == f"""\
{first}
  published to exchange orders with "none"
  └── topic exchange orders
      └── fanout exchange orders.unroutable  <- no binding takes it: alternate exchange,
          topology.exchanges.orders.unroutable
          └── quorum queue orders.unroutable  <- "", topology.exchanges.orders.unroutable
  gets into orders.unroutable
{second}
  published to exchange slow with "x"
  └── x-delayed-message exchange slow
      └── stream queue audit  <- "x", topology.bindings[4]
  gets into audit
0 of 2 expectations hold"""
    )
    way, other = as_json.failures(failed)
    assert way.pop("trace") == as_json.trace(sent("orders", "none"))
    assert other.pop("trace") == as_json.trace(sent("slow", "x"))
    assert [way, other] == [
        {
            "path": "expect[0].reaches",
            "value": '["audit"]',
            "message": 'a message to exchange orders with "none" does not get into audit',
            "fix": "correct the bindings, or what is expected; `trace` shows its way",
        },
        {
            "path": "expect[1].only_from",
            "value": '["orders"]',
            "message": 'exchange slow leads to audit too, for example with "x"',
            "fix": "correct the bindings, or what is expected",
        },
    ]
    assert text.failures(0, []) == (
        "nothing is expected: write rabbit-topology:expect in the stack's file"
    )


def test_settings_that_decide_about_messages_are_told_with_both_values():
    def queue(**settings):
        topology = {"vhost": "v", "queues": {"q": {"type": "classic", **settings}}}
        return Network.every(read(topology, {"version": "4.0"}))["v"]

    compared = changes.compare(queue(), queue(message_ttl="1m"))
    assert as_json.changes(compared)["settings"] == [
        {"queue": "q", "setting": "message-ttl", "before": None, "now": 60_000}
    ]
    assert "queue q: message-ttl was not set, now 60000" in text.changes("v", compared)


def test_a_queue_that_is_new_gains_all_that_leads_to_it():
    vhost = {"vhost": "v", "exchanges": {"e": {"type": "fanout"}}}
    bound = {"queues": {"q": {}}, "bindings": [{"source": "e", "queue": "q"}]}
    before, now = (
        Network.every(read({**vhost, **more}, {"version": "4.0"}))["v"] for more in ({}, bound)
    )
    (gained,) = changes.compare(before, now).changes
    assert (gained.exchange, gained.queue, gained.gained) == ("e", "q", True)
    compared = changes.compare(now, before)
    assert compared.unreachable == []
    assert [(lost.queue, lost.gained) for lost in compared.changes] == [("q", False)]
