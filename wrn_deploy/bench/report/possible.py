"""Checks that a record's numbers can have been measured, from the JSON as it is; which fields there are is not its job.

Units are in the names of fields, so that the rule follows from the name: nothing is infinite or NaN, only a temperature
and a loss of accuracy may be negative, a time that was taken is at least a nanosecond, and no count is larger than that
of its images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

__all__ = ["check_possible"]

LARGEST = 1e15  # bytes, multiply-accumulates: what a double holds exactly
TIMES = frozenset({"rounds_ms", "device_ms"})
TIME_MS = (1e-6, 1e10)  # a nanosecond, four months
FROM_1 = frozenset({"batch", "batches", "rounds", "iterations", "threads", "streams", "cores"})
FRACTIONS = frozenset({"agreement", "int8_share", "steal", "taken"})
LOWEST = {"temperature_c": -273.15, "drop": -100.0}  # a drop is in points of top-1; below 0: better than fp32
OF_IMAGES = ("correct", "correct5", "same", "changed_count")


def check_possible(value: Any, path: str = "", name: str = "") -> None:
    """Checks a value of a JSON and all that it holds.

    Args:
        value: what `json.loads` gave.
        path: where it stands, for errors, as in "rows.0.latencies.1".
        name: the field that it belongs to.

    Raises:
        ValueError: a number is impossible; the text has its path and value.
    """
    if isinstance(value, dict):
        _check_counts(value, path)
        for key, held in value.items():
            check_possible(held, f"{path}.{key}".lstrip("."), name if key.isdecimal() else key)
    elif isinstance(value, list):
        if not value and (name == "rounds_ms" or path.rpartition(".")[2].isdecimal()) and name in TIMES:
            raise ValueError(f"{path} is empty: expected at least one time")
        for index, held in enumerate(value):
            check_possible(held, f"{path}.{index}".lstrip("."), name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = _limits(name)
        if not low <= value <= high:  # nor is NaN
            raise ValueError(f"{path} is {value!r:.40}: expected {low:g} to {high:g}")


def _limits(name: str) -> tuple[float, float]:
    if name in TIMES:
        return TIME_MS
    if name in FRACTIONS:
        return 0.0, 1.0
    low = 1.0 if name in FROM_1 else math.ulp(0.0) if name == "duration_s" else 0.0
    return LOWEST.get(name, low), LARGEST


def _check_counts(record: dict[str, Any], path: str) -> None:
    images = record.get("images")
    if images == 0 and "label" not in record:  # a class may have none
        raise ValueError(f"{path}.images is 0: expected at least 1")
    for name, found in _counts(record):
        if isinstance(images, int) and found > images:
            raise ValueError(f"{path}.{name} is {found!r:.40}: expected at most {images!r:.40}, the number of images")
    top1, top5 = (dict(_counts(record)).get(name) for name in ("correct", "correct5"))
    if top1 is not None and top5 is not None and top5 < top1:
        raise ValueError(f"{path}.correct5 is {top5}: expected at least correct, {top1}")


def _counts(record: dict[str, Any]) -> Iterator[tuple[str, int]]:
    return ((name, record[name]) for name in OF_IMAGES if isinstance(record.get(name), int))
