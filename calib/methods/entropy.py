"""Calibration by least relative entropy (Migacz, "8-bit inference with TensorRT", GTC 2017)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.ranges import BINS, Histogram

__all__ = ["NEEDS_HISTOGRAM", "threshold"]

NEEDS_HISTOGRAM = True

LEVELS = 128  # magnitudes that symmetric int8 tells apart
STEP = 32  # thresholds are tried at every so many bins
MERGED = 2  # neighbouring bins taken together: the published method works on about 2,048 bins of the used range


def threshold(histogram: Histogram | None, amax: float, _percentile: float) -> float:
    """The threshold for which the clipped distribution and its image on 128 levels are nearest, `amax` at most.

    Nearest in the sense of Kullback and Leibler. The first bin is replaced by the second, as published calibrators do:
    behind a ReLU most values are exactly zero, which every scale represents.
    """
    assert histogram is not None
    counts = histogram.counts.reshape(-1, MERGED).sum(axis=1).astype(np.float64)
    counts[0] = counts[1]
    used = int(np.max(np.nonzero(counts)[0], initial=0)) + 1
    if used <= LEVELS:
        return amax
    candidates = [*range(LEVELS, used, STEP // MERGED), used]
    best = min(candidates, key=lambda kept: _divergence(counts, kept))
    return float(min(amax, best * histogram.width * MERGED))


def _divergence(counts: npt.NDArray[np.float64], kept: int) -> float:
    """KL divergence of the first `kept` bins (outliers in the last one) from their image on LEVELS levels."""
    wanted = counts[:kept].copy()
    filled = counts[:kept] > 0
    wanted[-1] += counts[kept:].sum()
    starts = (np.arange(LEVELS) * kept) // LEVELS
    sums = np.add.reduceat(counts[:kept], starts)
    occupied = np.add.reduceat(filled.astype(np.float64), starts)
    spread = sums / np.maximum(occupied, 1.0)
    level = np.repeat(np.arange(LEVELS), np.diff(np.append(starts, kept)))
    image = np.where(filled, spread[level], 0.0)
    both = (wanted > 0) & (image > 0)
    if not both.any() or image.sum() == 0:
        return float(np.inf)
    p, q = wanted / wanted.sum(), image / image.sum()
    lost = float(p[(wanted > 0) & (image == 0)].sum())  # mass that the image cannot represent at all
    return float((p[both] * np.log(p[both] / q[both])).sum() + lost * np.log(BINS))
