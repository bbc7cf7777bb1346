"""Calibration by a percentile of the magnitudes: the few largest values are clipped."""

from __future__ import annotations

import numpy as np

from wrn_deploy.calib.collection.ranges import Histogram

__all__ = ["NEEDS_HISTOGRAM", "threshold"]

NEEDS_HISTOGRAM = True


def threshold(histogram: Histogram | None, amax: float, percentile: float) -> float:
    """Returns the upper edge of the first bin up to which `percentile` percent of all values lie, `amax` at most."""
    assert histogram is not None
    cumulated = np.cumsum(histogram.counts)
    index = int(np.searchsorted(cumulated, cumulated[-1] * (percentile / 100.0)))
    return min(amax, (index + 1) * histogram.width)
