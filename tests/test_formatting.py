"""Numbers and texts for people: three digits, shares, sizes, counts, one line."""

from __future__ import annotations

import pytest

from wrn_deploy.formatting import abbreviate, count, digits, file_size, one_line, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.01234, "0.0123"), (1.2, "1.20"), (9.999, "10.0"), (99.96, "100"), (12345.0, "12300")],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_only_all_is_100_percent() -> None:
    assert (percent(0.975), percent(1.0), percent(49999 / 50000)) == ("97.50 %", "100.00 %", "> 99.99 %")


def test_sizes_have_decimal_units() -> None:
    sizes = [file_size(size) for size in (None, 999, 1500, 10_900_000, 2_000_000_000)]
    assert sizes == ["", "999 B", "1.50 kB", "10.9 MB", "2.00 GB"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (9_999, "10.0 k"), (4_720_000, "4.72 M"), (999_600, "1.00 M"),
     (48_300_000, "48.3 M"), (640_000_000, "640 M"), (11_400_000_000, "11.4 G")],
)  # fmt: skip
def test_large_counts_are_abbreviated(number: int, text: str) -> None:
    assert abbreviate(number) == text


def test_one_line_has_no_control_characters() -> None:
    assert one_line("a\n b\t\x1b[0mc\u202e") == "a b [0mc"


def test_a_count_has_its_plural() -> None:
    assert [count(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
