from __future__ import annotations

from rabbit_topology import model
from toolchain import reference


def test_the_readme_has_the_reference_of_today():
    readme = reference.README.read_text()
    assert reference.rewrite(readme) == readme, "run `make docs`"


def test_every_field_has_a_meaning_and_stands_in_the_reference():
    text = reference.render()
    for _, shape in reference.SECTIONS:
        for name, field in shape.model_fields.items():
            assert field.description, f"{shape.__name__}.{name} has no docstring"
            assert f"| `{name}` |" in text
    assert "`classic` / `quorum` / `stream`" in text
    assert model.Queue in dict(reference.SECTIONS).values()
