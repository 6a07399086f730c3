"""
Programs in other languages stand in the documentation as they are in the examples, which run.
"""

from __future__ import annotations

import pytest

from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "how-to" / "use-outputs-elsewhere.md"


@pytest.mark.parametrize(
    ("language", "file"), [("typescript", "typescript/index.ts"), ("go", "go/main.go")]
)
def test_the_page_has_the_program_as_it_is_run(language, file):
    program = (ROOT / "examples" / "consumers" / file).read_text()
    assert f"```{language}\n{program}```" in PAGE.read_text()
