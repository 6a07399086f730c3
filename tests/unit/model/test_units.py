from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbit_topology.model.units import duration_text, elapsed_text, milliseconds, parse_size


@given(st.integers(min_value=0))
def test_a_duration_written_in_its_largest_unit_is_read_back_whole(value):
    assert milliseconds(duration_text(value)) == value


@given(*(st.integers(0, 99) for _ in range(5)))
def test_a_duration_is_the_sum_of_its_parts(days, hours, minutes, seconds, rest):
    text = f"{days}d{hours}h{minutes}m{seconds}s{rest}ms"
    assert milliseconds(text) == (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + rest


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0d"), (999, "999ms"), (90_000, "90s"), (60_000, "1m"), (172_800_000, "2d")],
)
def test_a_duration_has_one_way_of_being_written(value, text):
    assert duration_text(value) == text


@given(st.integers(0, 10**6))
def test_sizes_know_both_kinds_of_prefix(count):
    assert parse_size(f"{count}kB") == count * 1000
    assert parse_size(f"{count}KiB") == count * 1024
    assert parse_size(f"{count}GiB{count}B") == count * (2**30 + 1)


@given(st.one_of(st.integers(), st.none(), st.booleans(), st.floats(allow_nan=False)))
def test_what_is_not_text_is_left_to_the_model(value):
    assert milliseconds(value) is value
    assert parse_size(value) is value


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5 m", "-5m", "5M", "1.5h", "5m!", "\N{ARABIC-INDIC DIGIT FIVE}m"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="it is a duration such as"):
        milliseconds(text)


@pytest.mark.parametrize("text", ["", "5", "GiB", "5 GB", "-5B", "5gb", "1.5GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="it is a size such as"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1ms", 1),
        ("1s", 1000),
        ("1m", 60_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
    ],
)
def test_each_unit_of_time(text, value):
    assert milliseconds(text) == value


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("B", 1),
        ("kB", 10**3),
        ("MB", 10**6),
        ("GB", 10**9),
        ("TB", 10**12),
        ("KiB", 2**10),
        ("MiB", 2**20),
        ("GiB", 2**30),
        ("TiB", 2**40),
    ],
)
def test_each_unit_of_size(unit, value):
    assert parse_size(f"3{unit}") == 3 * value


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0s"), (5, "5ms"), (65_000, "1m 5s"), (86_400_000, "1d"), (90_061_001, "1d 1h 1m 1s 1ms")],
)
def test_how_long_something_took(value, text):
    assert elapsed_text(value) == text


def test_what_is_no_duration_or_size_is_told_examples():
    with pytest.raises(ValueError, match='such as "500ms", "30s" or "1h30m"'):
        milliseconds("soon")
    with pytest.raises(ValueError, match='such as "500MB" or "2GiB"'):
        parse_size("much")
