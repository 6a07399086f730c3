from __future__ import annotations

import re

import pytest

from rabbit_topology import model
from rabbit_topology.lint import check as lint
from toolchain import reference


@pytest.mark.parametrize("name", reference.BLOCKS)
def test_the_docs_have_the_reference_of_today(name):
    page = reference.BLOCKS[name][0].read_text()
    assert reference.rewrite(name, page) == page, "run `make docs`"


def test_every_rule_stands_in_its_table():
    table = reference.rules()
    for rule in lint.CATALOGUE:
        (row,) = (line for line in table.splitlines() if f"`{rule.name}` |" in line)
        assert row.count("|") == 6, "a bar in a cell would split it"
        assert f'<a id="{rule.name}">' in row, "what reports link to"
        assert rule.reason in row


def test_every_field_has_a_meaning_and_stands_in_the_reference():
    text = reference.render()
    for _, shape in reference.SECTIONS:
        for name, field in shape.model_fields.items():
            assert field.description, f"{shape.__name__}.{name} has no docstring"
            assert f"| `{name}` |" in text
    assert "`classic` / `quorum` / `stream`" in text
    assert model.Queue in dict(reference.SECTIONS).values()


ROOT = reference.DOCS.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("toolchain/*.md")]


def anchors(page):
    """Return what a link may name within a page, as code hosts make it of headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*plain, *re.findall(r'<a id="([^"]+)">', text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_the_readme_can_be_read_to_its_end():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250
