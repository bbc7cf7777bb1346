"""The closed choices of how int8 graphs are written, as names; the standard library only."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Rounding", "WeightScales"]


class Rounding(StrEnum):
    """How weights become integers: each to the nearest, with feedback of errors, or learned after that."""

    NEAREST = "nearest"
    FEEDBACK = "feedback"
    LEARNED = "learned"


class WeightScales(StrEnum):
    """What has a scale of its own: each output channel of a Conv, or the Conv's weights as a whole."""

    CHANNEL = "per-channel"
    TENSOR = "per-tensor"
