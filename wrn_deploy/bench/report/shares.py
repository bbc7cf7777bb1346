"""Compares shares of images as counts: exactly as many as a limit allows are within it, which floats cannot tell."""

from __future__ import annotations

__all__ = ["exceeds", "falls_short"]

ROUNDING = 1e-9  # limits such as 0.1 have no exact binary form


def exceeds(count: int, images: int, percent: float) -> bool:
    """Whether `count` is more than `percent` per cent of `images`."""
    return 100 * count > percent * images + ROUNDING


def falls_short(count: int, images: int, percent: float) -> bool:
    """Whether `count` is less than `percent` per cent of `images`."""
    return 100 * count < percent * images - ROUNDING
