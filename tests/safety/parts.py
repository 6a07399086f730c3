"""
The parts in which the safety tests are run: each can be run by itself, at a time of its own.

A part's tests run one after another, in a process and on brokers of their own. Parts that mostly
wait run side by side; one that measures how much gets through has the machine to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LANES = 3
"""So many parts run side by side: on two cores each of them computes half of its time at most."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the safety tests, by the names of their functions."""

    name: str
    about: str
    tests: Sequence[str]
    alone: bool = False
    """It measures throughput, so that nothing may run beside it."""


PARTS = (
    Part(
        name="rows",
        about="20 replacements in a row at 3,500 messages/s; a cluster's node killed meanwhile",
        tests=(
            "test_replacements_in_a_row_lose_nothing",
            "test_replacements_on_a_cluster_lose_nothing_when_a_node_is_killed",
        ),
        alone=True,
    ),
    # Then those that take longest.
    Part(
        name="changes",
        about="every change on every version, under traffic or with messages at rest",
        tests=(
            "test_a_change_loses_nothing",
            "test_nor_does_it_with_the_settings_that_make_up_uses",
        ),
    ),
    Part(
        name="kills",
        about="runs killed at every step of a replacement, and at random moments",
        tests=(
            "test_a_killed_run_is_completed_by_the_next",
            "test_a_killed_run_of_an_exchange_is_completed_by_the_next",
        ),
    ),
    Part(
        name="refusals",
        about="what is refused, on every version; two runs at once, a run without a change",
        tests=(
            "test_what_holds_messages_is_deleted_only_if_it_may_be",
            "test_a_queue_with_a_consumer_and_no_messages_is_not_deleted",
            "test_a_queue_that_is_published_to_by_its_name_is_not_replaced",
            "test_a_vhost_that_leaves_the_config_stays_with_its_messages",
            "test_a_retained_queue_stays_with_its_messages",
            "test_a_queue_that_fills_up_while_it_is_removed_is_not_deleted_with_messages",
            "test_a_second_run_under_traffic_changes_nothing",
            "test_two_runs_at_once_lose_nothing",
        ),
    ),
    Part(
        name="renames",
        about="runs killed at every step in which a queue gets another name",
        tests=("test_a_killed_run_that_renames_a_queue_is_completed_by_the_next",),
    ),
    Part(
        name="checkpoints",
        about="the state saved once, at the end: 30 killed updates, 30 killed destroys",
        tests=("test_killed_updates_and_destroys_are_completed_by_the_next_run",),
    ),
    Part(
        name="adoption",
        about="a broker with 3,000 objects and live traffic is adopted, and then changed",
        tests=("test_a_broker_with_live_traffic_is_adopted_and_then_changed",),
    ),
    Part(
        name="brokers",
        about="brokers and nodes killed during a replacement; a broker that does not answer",
        tests=(
            "test_a_killed_broker_loses_nothing",
            "test_a_killed_node_loses_nothing",
            "test_nothing_is_deleted_when_the_broker_does_not_answer",
        ),
    ),
)

BY_NAME = {part.name: part for part in PARTS}


def part_of(test: str) -> str:
    """Return the name of the part that runs a test function.

    Raises:
        LookupError: None does, or several do.
    """
    names = [part.name for part in PARTS if test in part.tests]
    if len(names) != 1:
        parts = " and ".join(names) or "no part"
        raise LookupError(f"{test} belongs to {parts} of tests/safety/parts.py: put it into one")
    return names[0]
