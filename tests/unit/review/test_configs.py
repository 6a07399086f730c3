"""
What two configs do differently, by vhost.
"""

from __future__ import annotations

from rabbit_topology.lint.reading import read
from rabbit_topology.review import configs
from tests.support import mermaid
from tests.support.pictures import many

BEFORE = {
    "exchanges": {"e": {"type": "topic"}},
    "queues": {"q": {"max_length": 5}, "r": {}},
    "bindings": [
        {"source": "e", "queue": "q", "routing_key": "a.*"},
        {"source": "e", "queue": "r", "routing_key": "b"},
    ],
}


def compare(before, now, *, name="v"):
    return configs.compare(read({"vhost": name, **before}), read({"vhost": "v", **now}))


def test_the_same_is_no_difference():
    (one,) = compare(BEFORE, BEFORE, name="other")
    assert (one.lines, one.dropped, list(one.settings()), one.picture) == ([], 0, [], "")
    assert not one.new


def test_routes_settings_and_the_picture():
    now = {
        **BEFORE,
        "queues": {"q": {"max_length": 6}, "r": {}},
        "bindings": BEFORE["bindings"][:1],
    }
    (one,) = compare(BEFORE, now)
    assert one.lines[0] == 'b on exchange e no longer reaches r, for example "b"; now dropped'
    assert one.dropped == 1
    assert configs.settings([one]) == {("v", "q"): ["max-length was 5, now 6"]}
    assert not [line for line in one.lines if "max-length" in line]
    drawn = mermaid.read(one.picture)
    assert sorted(node["text"][0] for node in drawn["nodes"]) == ["e", "q", "r"]


def test_vhosts_that_come_and_go():
    before = read({"vhosts": {"a": BEFORE, "b": BEFORE}})
    now = read({"vhosts": {"a": BEFORE, "c": {**BEFORE, "services": {"s": {"consumes": ["q"]}}}}})
    same, new, gone = configs.compare(before, now)
    assert (same.vhost, same.lines, same.picture) == ("a", [], "")
    assert (new.vhost, new.new, new.lines) == ("c", True, ["vhost c is new"])
    assert [one.user for one in new.widened] == ["c.s"]
    assert "added" in new.picture
    assert (gone.vhost, gone.gone, gone.widened) == ("b", True, ())
    assert "removed" in gone.picture
    assert gone.lines[0].startswith("vhost b is gone from the config")


def test_a_large_picture_is_left_out_and_it_says_so():
    (one,) = compare({"queues": {"q": {}}}, many(700))
    assert one.picture == ""
    assert "parts of the picture are different" in one.left_out
