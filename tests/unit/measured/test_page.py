"""The pages that say what happens in each case, and which test shows it."""

from __future__ import annotations

import re

import pytest

from tests.support.repository import ROOT


@pytest.mark.parametrize(("page", "least"), [("docs/safety.md", 40), ("docs/objects.md", 15)])
def test_every_test_that_the_page_names_exists(page: str, least: int) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / page).read_text()))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > least
    assert named <= defined
