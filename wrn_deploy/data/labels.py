"""Reads class indices from numbers and texts, and orders class names; the standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from wrn_deploy.data import LAST_LABEL, check_label
from wrn_deploy.errors import DeployError

__all__ = ["are_indices", "class_index", "is_whole", "order_names", "sort_naturally"]

WHOLE = re.compile(r"(-?)0*(\d+)(\.0*)?", re.ASCII)  # pandas writes 10.0 if the column once had a gap
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)", re.ASCII)
DIGITS = re.compile(r"(\d+)", re.ASCII)
MOST_DIGITS = 18


def is_whole(text: str) -> bool:
    """Whether the text is a whole number, as 10, 010 and 10.0 are."""
    return WHOLE.fullmatch(text) is not None


def class_index(value: object, where: str) -> int | None:
    """Returns the class index that a number or a text gives; None if it gives none. `where` is for the error.

    Raises:
        DeployError: it is a whole number, but negative or greater than 2^31 - 1.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return check_label(int(value), where) if math.isfinite(value) and value.is_integer() else None
    if isinstance(value, int):
        return check_label(value, where)
    found = WHOLE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    if len(found[2]) > MOST_DIGITS:
        raise DeployError(
            f"{where} has a label of {len(found[2])} digits: expected a class index from 0 to {LAST_LABEL}"
        )
    return check_label(int(found[1] + found[2]), where)


def order_names(names: Iterable[str]) -> tuple[str, ...]:
    """Returns class names in the order of their indices: their own if they are the numbers 0 to N - 1, else sorted."""
    found = set(names)
    return tuple(sorted(found, key=int) if are_indices(found) else sorted(found))


def are_indices(names: Iterable[str]) -> bool:
    """Whether the names are the numbers 0 to N - 1, padded with zeros or not, in any order."""
    found = list(names)
    if not all(name.isascii() and name.isdigit() and len(name) <= MOST_DIGITS for name in found):
        return False
    return sorted(map(int, found)) == list(range(len(found)))


def sort_naturally(names: Iterable[str]) -> tuple[list[str], bool]:
    """Returns the names with the numbers in them in numeric order, and whether all are nothing but numbers."""
    found = list(names)
    if all(NUMBER.fullmatch(name) for name in found):
        return sorted(found, key=lambda name: (float(name), name)), True
    return sorted(found, key=_natural_key), False


def _natural_key(name: str) -> list[tuple[int, float, str]]:
    parts = DIGITS.split(name)
    return [(0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts)]
