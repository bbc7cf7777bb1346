"""Guard: warns of thresholds that clip more of a tensor than a few outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from wrn_deploy.calib.collection.ranges import Histogram, Part
from wrn_deploy.calib.guard import Calibrated, CalibrationWarning, count_others
from wrn_deploy.calib.methods import mse

__all__ = ["ID", "check"]

ID = "clipped"

RAREST = 1e-6  # the smallest fraction of all values that a percentile is advised for; below it `max` is as good


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns of tensors with more than `limits.clipped` of their nonzero values above the threshold.

    Behind a ReLU most values can be zero (82 % in a trained WRN), so a fraction of all values would hide clipping in
    sparse tensors. Values in the first bin of the histogram count as zero.
    """
    limit, table = calibrated.limits.clipped, calibrated.table
    parts = {name: found.whole for name, found in calibrated.ranges.items() if name in table.tensors}
    parts = {name: part for name, part in parts.items() if part.histogram is not None}
    fractions = {name: _of_nonzero(part, table[name].clipped) for name, part in parts.items()}
    names = tuple(sorted((name for name in fractions if fractions[name] > limit), key=lambda name: -fractions[name]))
    if not names:
        return None
    worst = fractions[names[0]]
    return CalibrationWarning(
        id=ID,
        names=names,
        numbers={"worst": worst, "tensors": len(names), "limit": limit},
        found=f"the threshold of {names[0]} clips {worst:.2%} of its nonzero values{count_others(names)}",
        remedy=f"calibrate with {_option(calibrated, parts)}",
    )


def _of_nonzero(part: Part, clipped: float) -> float:
    """The fraction `clipped` of all values, as one of the nonzero values, 0..1."""
    return min(1.0, clipped / _nonzero(part))


def _nonzero(part: Part) -> float:
    """The fraction of nonzero values; 1 if all are zero."""
    assert part.histogram is not None
    counts = part.histogram.counts
    return 1.0 - float(counts[0] / max(1, counts.sum())) or 1.0


def _option(calibrated: Calibrated, parts: Mapping[str, Part]) -> str:
    """The option that would bring every tensor below the limit, by these histograms.

    `mse` if it would and is not in use: it is best in most measurements. Otherwise the lowest percentile of 99.9,
    99.99, ... that clips few enough of the tensor with the fewest nonzero values.
    """
    limit, method = calibrated.limits.clipped, calibrated.table.method
    if method not in ("mse", "percentile"):
        by_mse = {name: part.clipped(_mse).clipped for name, part in parts.items()}
        if all(_of_nonzero(part, by_mse[name]) <= limit for name, part in parts.items()):
            return "--calib-method mse"
    allowed = limit * min(map(_nonzero, parts.values()))  # of all values
    if allowed < RAREST:
        return "--calib-method max"
    nines = max(3, math.ceil(-math.log10(allowed)))
    percentile = f"--percentile {100.0 - 10.0 ** (2 - nines):.{nines - 2}f}"
    return percentile if method == "percentile" else f"--calib-method percentile {percentile}"


def _mse(histogram: Histogram | None, amax: float) -> float:
    return mse.threshold(histogram, amax, 100.0)
