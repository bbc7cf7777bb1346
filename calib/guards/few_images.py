"""Guard: warns if the thresholds depend on which images were chosen, and estimates how many images settle them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wrn_deploy.calib.collection.ranges import Histogram
from wrn_deploy.calib.equalization.equalize import original_ranges
from wrn_deploy.calib.guard import Calibrated, CalibrationWarning
from wrn_deploy.formatting import count
from wrn_deploy.plugins import load_plugin

__all__ = ["ID", "check"]

ID = "few-images"

FARTHEST = 16.0  # how many times the images an estimate can be
FLAT = 64  # images from which the spread of `max` hardly falls
SETTLING, PERCENTILE = ("mse", "percentile"), 99.99  # methods that can settle where another does not, the default first


@dataclass(frozen=True, slots=True)
class _Settling:
    """How a method settles: `images` were enough for both measured networks; the spread falls about as n**-falls."""

    images: int
    falls: float


# Measured on wrn-16-2 and wrn-40-1; docs/reference/guards.md has the numbers. A method not listed settles as SLOWEST.
PLAIN = {
    "entropy": _Settling(64, 0.2),
    "max": _Settling(64, 0.2),
    "mse": _Settling(64, 0.3),
    "percentile": _Settling(32, 0.38),
}
EQUALIZED = {
    "entropy": _Settling(512, 0.3),
    "max": PLAIN["max"],  # whose spread is taken before equalisation
    "mse": _Settling(128, 0.5),
    "percentile": _Settling(64, 0.7),
}
SLOWEST = _Settling(512, 0.2)


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns if the two halves of the images give thresholds that differ by more than `limits.spread`, in the median.

    The median, because single tensors can differ in any case: with 256 images some differ by 10 to 45 % in networks
    that lose no accuracy.
    """
    images, limit = calibrated.table.images, calibrated.limits.spread
    spreads = _spreads(calibrated)
    names = tuple(sorted(spreads, key=lambda name: -spreads[name]))
    numbers = {"images": float(images), "available": float(calibrated.available)}
    if not spreads:
        found = f"{count(images, 'calibration image')} cannot be halved to measure how stable the scales are"
        enough = _enough(calibrated, 1.0)
    else:
        median = float(np.median([*spreads.values()]))
        if median <= limit:
            return None
        found = f"the halves of {images} calibration images give thresholds {median:.0%} apart (median tensor)"
        enough = _enough(calibrated, median / (limit or median))
        numbers |= {"median": median, "worst": spreads[names[0]], "limit": limit}
    numbers["enough"] = float(enough)
    return CalibrationWarning(id=ID, names=names, numbers=numbers, found=found, remedy=_remedy(calibrated, enough))


def _enough(calibrated: Calibrated, excess: float) -> int:
    """The estimated number of images that settle the thresholds, for a spread of `excess` times the limit.

    The largest of twice the images, what settled the measured networks, and images * excess**(1 / falls), at most
    FARTHEST times the images; as the next power of two. The spread of a few images is too noisy to extrapolate from
    alone: 10 to 57 % in draws of 8.
    """
    table = calibrated.table
    settling = (EQUALIZED if calibrated.equalized else PLAIN).get(table.method, SLOWEST)
    extrapolated = table.images * min(FARTHEST, excess ** (1.0 / settling.falls))
    return int(2 ** math.ceil(math.log2(max(2 * table.images, settling.images, extrapolated))))


def _spreads(calibrated: Calibrated) -> dict[str, float]:
    """The relative difference of the halves' thresholds, by tensor; empty if a half has no image.

    Equalisation makes the largest values of all channels alike, so the extremes of the halves agree whatever the images
    are. Without histograms, the extremes before equalisation are compared instead.
    """
    ranges = calibrated.ranges
    if all(part.histogram is None for found in ranges.values() for part in found.splits):
        ranges = original_ranges(calibrated.graph, ranges, calibrated.table.equalization)
    spreads = {name: found.disagreement(calibrated.threshold) for name, found in ranges.items()}
    return {name: spread for name, spread in spreads.items() if spread is not None}


def _remedy(calibrated: Calibrated, enough: int) -> str:
    """More images if the data has them, else another method that agrees on these, else other data."""
    table, available = calibrated.table, calibrated.available
    if table.method == "max" and table.images >= FLAT:
        return "more images hardly stabilise `max`; calibrate with --calib-method mse"
    if enough <= available:
        return (
            f"calibrate with --calib-size {enough}, estimated to stabilise them (under {calibrated.limits.spread:.0%})"
        )
    if table.images < available:
        return f"calibrate with --calib-size {available}, all of {table.data}, though about {enough} are needed"
    settled = next((name for name in SETTLING if name != table.method and _settles(calibrated, name)), None)
    if settled is not None:
        return f"{table.data} has no more; calibrate with --calib-method {settled}, which they stabilise"
    return f"{table.data} has no more; calibrate with about {enough} images of other data (--calib-data)"


def _settles(calibrated: Calibrated, method: str) -> bool:
    """Whether the halves' histograms give nearly the same thresholds by another method."""
    plugin = load_plugin("wrn_deploy.calib.methods", method)

    def threshold(histogram: Histogram | None, amax: float) -> float:
        return float(plugin.threshold(histogram, amax, PERCENTILE))

    found = calibrated.ranges.values()
    if any(part.histogram is None for tensor in found for part in tensor.splits):
        return False
    spreads = [spread for tensor in found if (spread := tensor.disagreement(threshold)) is not None]
    return bool(spreads) and float(np.median(spreads)) <= calibrated.limits.spread
