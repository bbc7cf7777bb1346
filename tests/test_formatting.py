"""Numbers and texts for people: three digits, shares, sizes, counts, one line, nothing that a terminal obeys."""

from __future__ import annotations

import re
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wrn_deploy
from wrn_deploy.formatting import (
    abbreviate,
    compare_times,
    count,
    describe_loss,
    digits,
    file_size,
    join_other,
    one_line,
    percent,
    printable,
    ratio_number,
    signed,
)

BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


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


def test_one_line_has_no_breaks_and_shows_control_characters() -> None:
    assert one_line("a\n b\t\x1b[0mc\u202e\u2028d\x85e ") == r"a b \x1b[0mc\u202e d e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;x\x07\b\x00\x7f\x9b31m\r", r"\x1b]0;x\x07\x08\x00\x7f\x9b31m\r"),  # C0, DEL, C1
        ("\u202a\u202e\u2066\u2069\u200e\u200f\u061c", r"\u202a\u202e\u2066\u2069\u200e\u200f\u061c"),  # bidi
        ("\u200b\u200d\u2060\ufeff\xad\u034f\u3164\U000e0041", r"\u200b\u200d\u2060\ufeff\xad\u034f\u3164\U000e0041"),
        ("a\u2028b\u2029c\x85d\ve\ff", r"a\u2028b\u2029c\x85d\x0be\x0cf"),
        ("caf\udce9 \ud83d \ue000", r"caf\udce9 \ud83d \ue000"),
        ("a\n\tb", "a\n\tb"),
        ("Füße 猫 ❤\ufe0f 😀 a\xa0b 全\u3000角 -> \\x1b ±", "Füße 猫 ❤\ufe0f 😀 a\xa0b 全\u3000角 -> \\x1b ±"),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_line_breaks_can_be_escaped_too() -> None:
    assert printable("a\n\tb", breaks=False) == r"a\n\tb"


ANY = st.text(st.one_of(st.characters(), st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zl", "Zp"])))


@given(ANY)
def test_any_text_becomes_printable(text: str) -> None:
    for shown, breaks in ((printable(text), "\n\t"), (printable(text, breaks=False), ""), (one_line(text), "")):
        for letter in shown:
            assert letter.isprintable() or letter in breaks or unicodedata.category(letter) == "Zs"
            assert unicodedata.bidirectional(letter) not in BIDI_CONTROLS
        shown.encode("utf-8")


@given(ANY)
def test_what_is_printable_stays(text: str) -> None:
    for filtered in (printable, partial(printable, breaks=False), one_line):
        assert filtered(filtered(text)) == filtered(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_letters_and_signs_are_untouched(text: str) -> None:
    visible = text.translate(dict.fromkeys(map(ord, "\u115f\u1160\u3164\uffa0")))
    assert printable(visible) == visible


def test_a_count_has_its_plural() -> None:
    assert [count(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.28, "+0.28"),
        (-0.1, "-0.10"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (0.004, "0.00"),
        (-0.004, "0.00"),
        (-0.006, "-0.01"),
    ],
)
def test_a_difference_has_the_sign_of_what_is_shown(value: float, text: str) -> None:
    assert signed(value) == text
    assert signed(value / 10, 3) == text.replace("0.", "0.0", 1)


@pytest.mark.parametrize(
    ("points", "text"),
    [(0.28, "0.28 points lost"), (-0.28, "0.28 points gained"), (0.0, "no points lost"), (-0.0, "no points lost"),
     (0.002, "less than 0.01 points lost"), (-0.002, "less than 0.01 points gained"), (0.005, "0.01 points lost")],
)  # fmt: skip
def test_a_loss_below_nothing_is_a_gain(points: float, text: str) -> None:
    assert describe_loss(points) == text
    assert describe_loss(points, "top-1") == text.replace("points", "points of top-1")


@pytest.mark.parametrize(
    ("ratio", "text", "bound"),
    [
        (0.5, "2.0x as fast", "at least 2.0x as fast"),
        (0.55, "1.82x as fast", "at least 1.81x as fast"),
        (0.035, "28.6x as fast", "at least 28x as fast"),
        (1 / 250, "250x as fast", "at least 250x as fast"),
        (1 / 99.96, "100x as fast", "at least 99x as fast"),
        (1.099, "1.10x the time", "at least 1.09x the time"),
        (1.997, "2.0x the time", "at least 1.9x the time"),
        (3.28, "3.3x the time", "at least 3.2x the time"),
        (1.0, "within 0.5 %", ""),
        (1.0049, "within 0.5 %", ""),
        (0.996, "within 0.5 %", ""),
        (0.991, "1.01x as fast", ""),
    ],
)
def test_times_are_compared_in_words(ratio: float, text: str, bound: str) -> None:
    assert compare_times(ratio) == text
    assert compare_times(ratio, bound=True) == bound
    assert join_other(text, "B") == f"{text} {'as' if 'fast' in text else 'of'} B"


def test_small_ratios_keep_their_digits() -> None:
    assert [ratio_number(ratio) for ratio in (1.0116, 0.1, 0.012345, 0.000144)] == [
        "1.012",
        "0.100",
        "0.0123",
        "0.000144",
    ]


def test_no_other_file_writes_a_sign_or_a_factor_by_itself() -> None:
    """A sign or a word that is chosen before rounding ends as "-0.00" or "1.00 times slower"."""
    root = Path(wrn_deploy.__file__).parent
    by_itself = re.compile(r"\{[^{}\n]*:\+[.0-9]*f\}|[0-9]f\}(x| times| points)")
    files = [file for file in root.rglob("*.py") if file.name != "formatting.py"]
    assert [file.name for file in files if by_itself.search(file.read_text(encoding="utf-8"))] == []
