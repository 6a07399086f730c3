"""
The state saved once, at the end: 30 killed updates, 30 killed destroys.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.safety.checkpoints import ENDED, Kills
from tests.safety.results import Results
from tests.support.stacks import Stack
from toolchain.broker import Broker

KILLS = 30


@pytest.mark.safety
def test_killed_updates_and_destroys_are_completed_by_the_next_run(
    tmp_path: Path, engine_env: dict[str, str], broker_4_0: Broker, vhost: str, results: Results
) -> None:
    kills = Kills(stack=Stack(tmp_path, engine_env, broker_4_0), vhost=vhost, size=12)
    kills.start()
    try:
        kills.kill_updates(KILLS, seed=1)
        kills.kill_destroys(KILLS, seed=1)
    finally:
        for line in kills.said:
            results.saved(broker_4_0.version, line, struck=ENDED not in line)
    assert kills.struck >= 2 * KILLS - 6, kills.said  # the last change may be a run's last act
