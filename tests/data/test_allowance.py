"""The maximum of corrupt images, as a command is given it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.properties import quickly
from wrn_deploy.data.corrupt import MaxCorrupt, Percent, count_allowed, parse_max_corrupt
from wrn_deploy.errors import UsageError


@pytest.mark.parametrize(
    ("text", "max_corrupt", "of_250"),
    [("0", 0, 0), (" 3 ", 3, 3), ("1%", Percent(1.0), 2), ("0.5 %", Percent(0.5), 1), ("100%", Percent(100.0), 250)],
)
def test_a_number_or_a_percentage(text: str, max_corrupt: MaxCorrupt, of_250: int) -> None:
    assert parse_max_corrupt(text) == max_corrupt
    assert count_allowed(parse_max_corrupt(text), 250) == of_250


@pytest.mark.parametrize("text", ["", "-1", "1.5", "some", "-1%", "101%", "nan%", "inf%", "%", "1%%"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--max-corrupt .*: expected a number of images from 0, or a percentage, such as"
    ):
        parse_max_corrupt(text)


@quickly
@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_every_number_is_taken_as_it_is(number: int, images: int) -> None:
    assert count_allowed(parse_max_corrupt(str(number)), images) == number


@quickly
@given(st.floats(0, 100), st.integers(0, 10**6))
def test_every_percentage_is_rounded_down(percent: float, images: int) -> None:
    allowed = count_allowed(parse_max_corrupt(f"{percent!r}%"), images)
    assert allowed <= percent * images / 100 < allowed + 1


@quickly
@given(st.text())
def test_every_other_text_is_a_usage_error(text: str) -> None:
    try:
        assert count_allowed(parse_max_corrupt(text), 0) >= 0
    except UsageError as error:
        assert repr(text) in str(error)  # noqa: PT017 - most texts are refused, but not all
