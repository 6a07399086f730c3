"""
The state saved once, at the end: a run that is killed loses nothing and is completed by the next.

The full scale, 30 kills of each, is `make safety`.
"""

from __future__ import annotations

from tests.safety.checkpoints import Kills
from tests.support.stacks import Stack


def test_killed_updates_and_destroys_are_completed_by_the_next_run(
    one_stack: Stack, vhost: str
) -> None:
    kills = Kills(stack=one_stack, vhost=vhost, size=6)
    kills.start()
    kills.kill_updates(2, seed=1)
    kills.kill_destroys(2, seed=1)
    print(*kills.said, sep="\n")
    assert kills.struck == 4, kills.said
