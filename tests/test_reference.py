from __future__ import annotations

from rabbit_topology import lint, model
from toolchain import reference


def test_the_readme_has_the_reference_of_today():
    readme = reference.README.read_text()
    assert reference.rewrite(readme) == readme, "run `make docs`"


def test_every_rule_stands_in_its_table():
    table = reference.rules()
    for rule in lint.CATALOGUE:
        (row,) = (it for it in table.splitlines() if it.startswith(f"| `{rule.name}` |"))
        assert row.count("|") == 6, "a bar in a cell would split it"
        assert rule.reason in row


def test_every_field_has_a_meaning_and_stands_in_the_reference():
    text = reference.render()
    for _, shape in reference.SECTIONS:
        for name, field in shape.model_fields.items():
            assert field.description, f"{shape.__name__}.{name} has no docstring"
            assert f"| `{name}` |" in text
    assert "`classic` / `quorum` / `stream`" in text
    assert model.Queue in dict(reference.SECTIONS).values()
