"""Calibration by least squared error between the values and their int8 images."""

from __future__ import annotations

import numpy as np

from wrn_deploy.calib.ranges import BINS, Histogram

__all__ = ["NEEDS_HISTOGRAM", "threshold"]

NEEDS_HISTOGRAM = True

LEVELS = 127  # magnitudes above zero that symmetric int8 tells apart
CANDIDATES = 128  # thresholds that are tried, evenly from a share of amax to amax
LEAST = 0.05  # the lowest of them, as a share of amax


def threshold(histogram: Histogram | None, amax: float, _percentile: float) -> float:
    """The threshold with the least sum of squared errors over the histogram's bin centres, `amax` at most."""
    assert histogram is not None
    if amax == 0.0:
        return amax  # always zero: every threshold is right
    used = histogram.counts > 0
    values = ((np.arange(BINS) + 0.5) * histogram.width)[used]
    counts = histogram.counts[used].astype(np.float64)

    def error(limit: float) -> float:
        step = limit / LEVELS
        images = np.minimum(np.rint(values / step), LEVELS) * step
        return float((counts * (values - images) ** 2).sum())

    return min((float(limit) for limit in np.linspace(LEAST * amax, amax, CANDIDATES)), key=error)
