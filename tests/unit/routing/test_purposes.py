from __future__ import annotations

from rabbit_topology.routing import purposes


def test_what_a_dead_letter_exchange_leads_to_gets_dead_letters():
    dead, unroutable = purposes.sources(["a"], [("a", "b"), ("e", "u")], [("b", "c"), ("e", "f")])
    assert dead == {"a", "b", "c"}
    assert unroutable == {"u"}


def test_a_queue_that_is_reached_by_name_is_none_where_another_exchange_leads_to_it():
    bindings = [("dead", "both"), ("e", "mixed")]
    named = ["alone", "both", "mixed"]
    assert purposes.only_from({"dead"}, bindings, named) == {"alone", "both"}
    assert purposes.only_from({"dead"}, bindings) == {"both"}


def test_what_has_waited_elsewhere_is_dead_unless_its_queue_is_consumed():
    letting_go = {"later": "jobs", "calls": "calls.dead"}
    assert purposes.by_name(letting_go, {"later", "calls"}, {"jobs"}) == {"calls.dead"}
    assert purposes.by_name(letting_go, {"calls"}, {"jobs"}) == {"jobs", "calls.dead"}
