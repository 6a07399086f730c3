"""
Permissions are regular expressions: they allow what was meant, and nothing beside it.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rabbit_topology import parse
from rabbit_topology.services import permissions

TOPOLOGY = {
    "vhost": "v",
    "exchanges": {
        "events": {"type": "topic"},
        "jobs": {},
        "own": {"type": "topic"},
        "own.alternate": {"type": "x-random", "arguments": {"alternate-exchange": "spare"}},
    },
    "queues": {
        "inbox": {},
        "own.queue": {"arguments": {"x-dead-letter-exchange": "dead"}},
        "own.default": {"arguments": {"x-dead-letter-exchange": ""}},
    },
}


def allowed(pattern, text):
    r"""Match as the broker does: anywhere. The end is `\z` to it, and `\Z` to Python."""
    python = re.sub(
        r"\\(.)", lambda one: r"\Z" if one[1] == "z" else one[0], pattern, flags=re.DOTALL
    )
    return re.search(python, text) is not None


def matches(pattern, words):
    """Match a topic pattern as AMQP 0-9-1 defines it, word by word."""
    if not pattern:
        return not words
    head, *rest = pattern
    if head == "#":
        return matches(rest, words) or bool(words and matches(pattern, words[1:]))
    return bool(words) and head in ("*", words[0]) and matches(rest, words[1:])


def split(key):
    return key.split(".") if key else []


def service(**said):
    topology, *_ = parse({**TOPOLOGY, "services": {"s": said}})
    return topology, topology.services["s"]


_WORDS = st.sampled_from(["", "a", "b", "ab", "A", "a+", "(a)", "[a]", "\\z", "a|b", "^", "$", "ü"])
_KEYS = st.lists(_WORDS | st.sampled_from(["\n", "a\n", "*", "#"]), max_size=5).map(".".join)
_PATTERNS = st.lists(_WORDS | st.sampled_from(["*", "#"]), max_size=5).map(".".join)


@given(patterns=st.lists(_PATTERNS, max_size=3), key=_KEYS)
@example(patterns=["*"], key="")
@example(patterns=["#."], key="")
@example(patterns=["#.#"], key="")
@example(patterns=["a"], key="a\n")
@example(patterns=["#.#.a"], key="\n.a")
@example(patterns=["a.#.#.b"], key="a.b")
def test_topic_patterns_allow_the_keys_that_they_match(patterns, key):
    wanted = any(matches(split(pattern), split(key)) for pattern in patterns)
    # No pattern at all is `^$`, in which the broker sees the empty key; such a service has no
    # write permission on the exchange.
    if patterns:
        assert allowed(permissions.exactly_keys(patterns), key) is wanted


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [("a+", "a+", "aa"), ("x.(a)", "x.(a)", "x.a"), ("[a].*", "[a].b", "a.b"), ("a|b", "a|b", "a")],
)
def test_a_word_of_a_topic_pattern_is_no_regular_expression(pattern, taken, refused):
    assert allowed(permissions.exactly_keys([pattern]), taken)
    assert not allowed(permissions.exactly_keys([pattern]), refused)


@given(
    names=st.lists(st.text(st.characters(exclude_characters="\n*"), min_size=1)), other=st.text()
)
@example(names=["a.b", "a+b", "(x)", "a|b", "^", "$"], other="axb")
def test_names_are_allowed_as_they_are_written_and_no_others(names, other):
    pattern = permissions.exactly(names)
    assert all(allowed(pattern, name) for name in names)
    if other not in names and not other.endswith("\n") and other:  # the broker has no such names
        assert not allowed(pattern, other)


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        ("worker.*", "worker.1", True),
        ("worker.*", "worker.", True),
        ("worker.*", "workerx", False),
        ("worker.*", "a.worker.1", False),
        ("a*", "ab", True),
        ("a*", "amq", True),
        ("a*", "amq.default", False),  # whoever writes here, writes to every queue
        ("amq*", "amq.topic", False),
        ("amq.gen-*", "amq.gen-x1", True),
        ("amq.gen-*", "amq.default", False),
    ],
)
def test_a_wildcard_is_any_rest_but_the_brokers_own_names(declared, name, expected):
    assert allowed(permissions.exactly([declared]), name) is expected


def test_nothing_is_allowed_to_a_service_that_says_nothing():
    topology, one = service()
    assert set(permissions.permissions(topology, one).model_dump().values()) == {"^$"}
    assert permissions.topic_permissions(topology, one) == {}


def test_publishers_write_consumers_read_and_only_who_replies_has_the_default_exchange():
    topology, one = service(publishes=["jobs"], consumes=["inbox"])
    result = permissions.permissions(topology, one)
    assert (result.configure, result.write, result.read) == ("^$", "^(jobs)$", "^(inbox)$")
    topology, one = service(consumes=["inbox"], replies=True)
    assert permissions.permissions(topology, one).write == r"^(amq\.default)$"


def test_what_is_declared_with_a_dead_letter_or_alternate_exchange_needs_to_write_there():
    topology, one = service(declares=["own.queue"])
    assert permissions.permissions(topology, one).write == r"^(dead|own\.queue)$"
    topology, one = service(declares=["own.*"])
    assert permissions.permissions(topology, one).write == r"^(amq\.default|dead|own\..*|spare)$"


def test_topic_permissions_are_for_topic_exchanges_only():
    topology, one = service(
        publishes=["jobs", {"exchange": "events", "routing_keys": ["a", "b.*"]}]
    )
    (only,) = permissions.topic_permissions(topology, one).items()
    assert only[0] == "events"
    assert (only[1].write, only[1].read) == (r"^(a|b\.[^.]*)\z", "^$")


def test_publishing_without_routing_keys_is_any_key_also_beside_some_keys():
    topology, one = service(publishes=[{"exchange": "events", "routing_key": "a"}, "events"])
    assert permissions.topic_permissions(topology, one)["events"].write == ".*"
    topology, one = service(publishes=[{"exchange": "amq.topic", "routing_key": "a"}])
    assert permissions.topic_permissions(topology, one)["amq.topic"].write == r"^(a)\z"


def test_who_binds_to_a_topic_exchange_may_use_any_key_and_publish_none():
    topology, one = service(binds=["events"], declares=["mine"])
    assert permissions.topic_permissions(topology, one)["events"].model_dump() == {
        "write": "^$",
        "read": ".*",
    }


def test_a_topic_exchange_of_its_own_has_no_limits():
    topology, one = service(binds=["own"], declares=["ow*"])
    assert permissions.topic_permissions(topology, one) == {}


def test_what_was_renamed_may_be_used_by_both_names():
    topology, _ = parse(
        {
            "vhost": "v",
            "exchanges": {"shop.events": {"type": "topic", "renamed_from": "events"}},
            "queues": {"shop.orders": {"renamed_from": "orders"}},
            "services": {
                "s": {
                    "publishes": [{"exchange": "shop.events", "routing_key": "order.*"}],
                    "consumes": ["shop.orders"],
                }
            },
        }
    )[:2]
    one = topology.services["s"]
    allowed = permissions.permissions(topology, one)
    assert (allowed.write, allowed.read) == (
        r"^(events|shop\.events)$",
        r"^(orders|shop\.orders)$",
    )
    keys = permissions.topic_permissions(topology, one)
    assert keys["events"] == keys["shop.events"]


@pytest.mark.parametrize("declares", ["shop.events", "shop.*"])
def test_what_a_service_declares_is_its_own_by_the_former_name_as_well(declares):
    topology, _ = parse(
        {
            "vhost": "v",
            "exchanges": {"shop.events": {"type": "topic", "renamed_from": "events"}},
            "services": {
                "s": {
                    "declares": [declares],
                    "publishes": [{"exchange": "shop.events", "routing_key": "order.*"}],
                }
            },
        }
    )[:2]
    one = topology.services["s"]
    allowed = permissions.permissions(topology, one)
    for pattern in (allowed.configure, allowed.write, allowed.read):
        assert re.search(pattern, "events")
        assert re.search(pattern, "shop.events")
        assert not re.search(pattern, "others")
    assert permissions.topic_permissions(topology, one) == {}


def test_variables_of_the_broker_in_routing_keys_are_taken_literally():
    # It would put the user's name in the place of `{username}`.
    assert "{username}" not in permissions.exactly_keys(["{username}"])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({}, "v.s"),
        ({"rotation": 3}, "v.s"),
        ({"rotates": "password", "rotation": 3}, "v.s"),
        ({"rotates": "user"}, "v.s"),
        ({"rotates": "user", "rotation": 3}, "v.s.3"),
        ({"rotates": "user", "rotation": 3, "username": "u"}, "u.3"),
    ],
)
def test_the_user_of_a_rotation(said, name):
    topology, _ = service(**said)
    assert permissions.user_name(topology, "s") == name


@pytest.mark.parametrize(
    ("user", "is_former"),
    [
        *(("v.s", True), ("v.s.2", True), ("v.s.4", True), ("v.s.10", True)),
        *(("v.s.3", False), ("v.s.x", False), ("v.s.0", False), ("v.s.2.2", False)),
        *(("vxs", False), ("v.s.2\n", False), ("v.o", False), ("v.s.5", False), ("v.s.6", False)),
    ],
)
def test_users_of_other_rotations(user, is_former):
    services = {"s": {"rotates": "user", "rotation": 3}, "o": {}, "s.5": {}}
    users = {"v.s.6": {"exists": True}}
    topology, *_ = parse({**TOPOLOGY, "services": services, "users": users})
    assert permissions.has_former(topology, user) is is_former
    plain, *_ = parse({**TOPOLOGY, "services": {"s": {"rotation": 3}}})
    assert not permissions.has_former(plain, user)
