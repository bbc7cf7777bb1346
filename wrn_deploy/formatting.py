"""Formats numbers and texts for people: digits, fractions, sizes, printable texts; the standard library only."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

__all__ = [
    "abbreviate", "compare_times", "count", "describe_loss", "digits", "file_size", "first_names", "join_other",
    "multiple", "one_line", "percent", "printable", "ratio_number", "signed",
]  # fmt: skip


# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) as far as `str.isprintable` allows it, but for
# U+FE0E and U+FE0F, which emoji need: they have no width, so two names that differ in them look the same.
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")


def digits(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.20, 12300."""
    rounded = float(f"{value:.2e}")
    exponent = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:.{max(0, 2 - exponent)}f}"


def percent(fraction: float) -> str:
    """A fraction (0..1) with two decimals, as in "97.50 %"; "100.00 %" only for all of them, else "> 99.99 %"."""
    text = f"{fraction:.2%}"
    return ("> 99.99" if fraction < 1.0 and text == "100.00%" else text[:-1]) + " %"


def file_size(size_bytes: int | None) -> str:
    """As in "10.9 MB" (10^6 bytes); empty if it is not known."""
    if size_bytes is None:
        return ""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= unit:
            return f"{digits(size_bytes / unit)} {name}"
    return f"{size_bytes} B"


def abbreviate(number: int) -> str:
    """A count to three significant digits, as in "4.72 M"; exact below 1000."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size * 0.9995:
            return f"{digits(number / size)} {unit}"
    return str(number)


def printable(text: str, *, breaks: bool = True) -> str:
    r"""The text with a visible escape, as in `\x1b`, for each character that a terminal obeys or hides.

    These are control characters (ESC, BEL, DEL, C0 and C1), bidirectional controls, characters without width, other
    line separators, halves of surrogate pairs (bytes of a file name that are not UTF-8), and code points without a
    character. `breaks`: line breaks and tabs stay; else they are escaped, too.
    """
    if text.isprintable() and not INVISIBLE.search(text):
        return text
    return "".join(letter if _is_shown(letter, breaks) else _escaped(letter) for letter in text)


def one_line(text: str) -> str:
    """The text on one line, printable: for a cell of a table, or a label."""
    return printable(" ".join(text.split()), breaks=False)


def count(number: int, noun: str) -> str:
    """As in "1 image" and "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_shown(letter: str, breaks: bool) -> bool:
    if letter in "\n\t":
        return breaks
    if letter.isprintable():
        return not INVISIBLE.match(letter)
    return unicodedata.category(letter) == "Zs"  # other spaces than the ASCII one


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def first_names(names: Sequence[str], most: int = 4) -> str:
    """The first `most` of the names, as in "a, b, c, d, ... (9 in all)"."""
    more = f", ... ({len(names)} in total)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign, which is that of the rounded value: "+0.28", "-0.10", and "0.00" without one."""
    text = f"{value:+.{decimals}f}"
    return text if text.strip("+-0.") else text[1:]


def describe_loss(points: float, of: str = "") -> str:
    """As in "0.28 points lost", "0.28 points gained", "no points lost", and with `of` "0.28 points of top-1 lost"."""
    amount = f"{abs(points):.2f}" if abs(points) >= 0.005 else "less than 0.01" if points else "no"
    return f"{amount} points {f'of {of} ' if of else ''}{'gained' if points < 0 else 'lost'}"


def ratio_number(ratio: float) -> str:
    """A ratio with three decimals, or three significant digits below 0.1: 1.012, 0.0123."""
    return f"{ratio:.3f}" if ratio >= 0.1 else digits(ratio)


def compare_times(ratio: float, *, bound: bool = False) -> str:
    """A time over another's in words: "2.1x as fast", "1.10x the time", or "within 0.5 %" if they round to the same.

    With `bound`: "at least 2.1x as fast", rounded towards 1, and from 10 on to a whole number; empty if that is 1.
    """
    factor = max(ratio, 1 / ratio)
    decimals = 2 if factor < 1.995 else 1 if factor < (10 if bound else 99.95) else 0
    shown = math.floor(factor * 10**decimals) / 10**decimals if bound else round(factor, decimals)
    if shown == 1:
        return "" if bound else "within 0.5 %"
    text = f"{shown:.{decimals}f}x {'as fast' if ratio < 1 else 'the time'}"
    return f"at least {text}" if bound else text


def multiple(factor: float) -> str:
    """A factor for a headline, as in "1.05x", "2.1x" and "120x"."""
    return f"{factor:.{2 if factor < 1.995 else 1 if factor < 99.95 else 0}f}x"


def join_other(words: str, other: str) -> str:
    """The words of `compare_times` with the other's name: "2.1x as fast as B", "1.10x the time of B"."""
    return f"{words} {'as' if words.endswith('as fast') else 'of'} {other}"
