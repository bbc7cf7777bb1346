"""Guard: warns of thresholds that clip more of a tensor than a few outliers."""

from __future__ import annotations

from wrn_deploy.calib.guard import Calibrated, CalibrationWarning, join_names

__all__ = ["ID", "check"]

ID = "clipped"


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns of tensors with more than `limits.clipped` of their nonzero values above the threshold.

    Behind a ReLU most values can be zero (82 % in a trained WRN), so a fraction of all values would hide clipping in
    sparse tensors. Values in the first bin of the histogram count as zero.
    """
    limit = calibrated.limits.clipped
    fractions = {}
    for name, found in calibrated.ranges.items():
        histogram = found.whole.histogram
        if histogram is not None and name in calibrated.table.tensors:
            zeros = float(histogram.counts[0] / max(1, histogram.counts.sum()))
            fractions[name] = min(1.0, calibrated.table[name].clipped / ((1.0 - zeros) or 1.0))
    names = tuple(sorted((name for name in fractions if fractions[name] > limit), key=lambda name: -fractions[name]))
    if not names:
        return None
    worst = fractions[names[0]]
    return CalibrationWarning(
        id=ID,
        names=names,
        numbers={"worst": worst, "tensors": len(names), "limit": limit},
        found=f"thresholds clip up to {worst:.2%} of the nonzero values (more than {limit:.2%} in {join_names(names)})",
        remedy="large activations matter most; use a higher --percentile, or --calib-method mse",
    )
