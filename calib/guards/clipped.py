"""Guard: warns of thresholds that clip more of a tensor than a few outliers."""

from __future__ import annotations

from wrn_deploy.calib.collection.ranges import Histogram
from wrn_deploy.calib.guard import Calibrated
from wrn_deploy.calib.warning import CalibrationWarning, join_names

__all__ = ["ID", "check"]

ID = "clipped"


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns of tensors with more than `limits.clipped` of their nonzero values above the threshold.

    Behind a ReLU most values can be zero (82 % in a trained WRN), so a share of all values would hide clipping in
    sparse tensors. Values in the first bin of the histogram count as zero.
    """
    limit = calibrated.limits.clipped
    shares = {}
    for name, found in calibrated.ranges.items():
        histogram = found.whole.histogram
        if histogram is not None and name in calibrated.table.tensors:
            shares[name] = min(1.0, calibrated.table[name].clipped / (_nonzero(histogram) or 1.0))
    names = tuple(sorted((name for name in shares if shares[name] > limit), key=lambda name: -shares[name]))
    if not names:
        return None
    worst = shares[names[0]]
    return CalibrationWarning(
        id=ID,
        names=names,
        numbers={"worst": worst, "tensors": len(names), "limit": limit},
        found=f"thresholds clip up to {worst:.2%} of the nonzero values (more than {limit:.2%} in {join_names(names)})",
        remedy="large activations matter most; use a higher --percentile, or --calib-method mse",
    )


def _nonzero(histogram: Histogram) -> float:
    total = int(histogram.counts.sum())
    return 1.0 - int(histogram.counts[0]) / total if total else 0.0
