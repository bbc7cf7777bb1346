"""How many corrupt images may be left out, as a command is told it."""

from __future__ import annotations

import pytest

from wrn_deploy.data.corrupt import Share, allowed_of
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.allowance import parse_allowance


@pytest.mark.parametrize(
    ("text", "allowance", "of_250"),
    [("0", 0, 0), (" 3 ", 3, 3), ("1%", Share(1.0), 2), ("0.5 %", Share(0.5), 1), ("100%", Share(100.0), 250)],
)
def test_a_number_or_a_share(text: str, allowance: int | Share, of_250: int) -> None:
    assert parse_allowance(text) == allowance
    assert allowed_of(parse_allowance(text), 250) == of_250


@pytest.mark.parametrize("text", ["", "-1", "1.5", "some", "-1%", "101%", "nan%", "%", "1%%"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--max-corrupt .*: expected a number of images from 0, or their share, as in 3"
    ):
        parse_allowance(text)
