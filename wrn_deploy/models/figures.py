"""Writes counts and accuracies for people, as exact as they are known; text only."""

from __future__ import annotations

import math

from wrn_deploy.models.published import Accuracy, Count, Published

__all__ = ["best_accuracy", "count_text", "macs_text", "percent_text"]

MILLION, BILLION = 10**6, 10**9


def count_text(count: Count) -> str:
    """As published, as in "68,883,240", "68.9 M" and "11.40 G"."""
    if count.unit == 1:
        return f"{count.value:,}"
    scale, letter = (BILLION, "G") if count.value >= BILLION else (MILLION, "M")
    decimals = max(0, round(math.log10(scale / count.unit)))
    return f"{count.value / scale:.{decimals}f} {letter}"


def macs_text(macs: int) -> str:
    """As in "101.1 M" and "11.40 G"."""
    return f"{macs / BILLION:.2f} G" if macs >= BILLION else f"{macs / MILLION:.1f} M"


def percent_text(value: float) -> str:
    """Two decimals, or three where they were published: "96.11 %", "78.468 %"."""
    return f"{value:.3f}".removesuffix("0") + " %"


def best_accuracy(published: Published, data: str) -> Accuracy | None:
    """The highest top-1 that is published on a data set, as in "CIFAR-10"; None where none is."""
    found = [accuracy for accuracy in published.accuracies if accuracy.data == data]
    return max(found, key=lambda accuracy: accuracy.top1, default=None)
