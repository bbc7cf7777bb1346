"""Formats numbers and texts for people: digits, fractions, sizes, printable texts; the standard library only."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

__all__ = ["abbreviate", "count", "digits", "file_size", "first_names", "one_line", "percent", "printable"]

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
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
