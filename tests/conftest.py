"""
What all tests share: hypothesis without deadlines, and the fixtures of the package's own plugin.
"""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

from rabbit_topology.routing import tree
from rabbit_topology.testing import deploy  # noqa: F401 - a fixture, as a program's own tests get it

# How long an example takes depends on what else the machine does: it says nothing about the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture
def steps_of_search(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of steps of each search among a topic's patterns."""
    steps: list[int] = []
    search = tree._search

    def counted(*arguments: Any) -> Any:
        answer = search(*arguments)
        steps.append(answer[1])
        return answer

    monkeypatch.setattr(tree, "_search", counted)
    return steps
