"""Guard: a threshold that cuts off more of a tensor than a few stray values."""

from __future__ import annotations

from wrn_deploy.calib.caution import Caution, listed
from wrn_deploy.calib.collection.ranges import Histogram
from wrn_deploy.calib.guard import Calibrated

__all__ = ["ID", "look"]

ID = "clipped"


def look(seen: Calibrated) -> Caution | None:
    """Warns of tensors of which more than `limits.clipped` of the values other than zero lie above the threshold.

    Behind a ReLU most values can be zero (82 % in a trained WRN): of all values, the share says ever less the sparser a
    tensor is. Values in the first of the histogram's bins count as zero.
    """
    shares = {}
    for name, found in seen.ranges.items():
        histogram = found.histogram
        if histogram is not None and name in seen.table.tensors:
            shares[name] = min(1.0, seen.table[name].clipped / (_nonzero(histogram) or 1.0))
    names = tuple(
        sorted((name for name in shares if shares[name] > seen.limits.clipped), key=lambda name: -shares[name])
    )
    if not names:
        return None
    return Caution(
        ID,
        names,
        {"worst": shares[names[0]], "tensors": len(names), "limit": seen.limits.clipped},
        f"thresholds cut off up to {shares[names[0]]:.2%} of the values other than zero (more than "
        f"{seen.limits.clipped:.2%} in {listed(names)})",
        "large activations decide; use a higher --percentile, or --calib-method mse",
    )


def _nonzero(histogram: Histogram) -> float:
    total = int(histogram.counts.sum())
    return 1.0 - int(histogram.counts[0]) / total if total else 0.0
