from __future__ import annotations

import pytest

from rabbit_topology.model import versions


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.3", (4, 3)),
        ("4.3.6", (4, 3)),
        ("3.13", (3, 13)),
        ("4.1.0-rc.1", (4, 1)),
        ("4.1-rc.1", (4, 1)),
        ("4.1+dev", (4, 1)),
    ],
)
def test_major_and_minor_are_read(text, version):
    assert versions.parse(text) == version


@pytest.mark.parametrize(
    "text", ["", "4", "4.", "4.x", "v4.0", "4.0x", " 4.0", "\N{ARABIC-INDIC DIGIT FOUR}.0"]
)
def test_what_is_no_version_is_told_how_one_is_written(text):
    with pytest.raises(ValueError, match=r'is written "4\.0" or "4\.0\.5", in quotes'):
        versions.parse(text)


def test_a_version_is_shown_as_it_is_written():
    assert versions.text((3, 13)) == "3.13"
