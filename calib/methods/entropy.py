"""Calibration by the smallest relative entropy (Migacz, "8-bit inference with TensorRT", GTC 2017)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.collection.ranges import BINS, Histogram

__all__ = ["NEEDS_HISTOGRAM", "threshold"]

NEEDS_HISTOGRAM = True

LEVELS = 128  # magnitudes that symmetric int8 distinguishes
STEP = 32  # bins from one tried threshold to the next
MERGED = 2  # neighbouring bins taken together: the published method works on about 2,048 bins of the used range

Floats = npt.NDArray[np.float64]


def threshold(histogram: Histogram | None, amax: float, _percentile: float) -> float:
    """Returns the threshold for which the clipped distribution and its image on 128 levels are nearest, `amax` at most.

    Nearest in the sense of Kullback and Leibler. The first bin is replaced by the second, as published calibrators do:
    behind a ReLU most values are exactly zero, which every scale represents.
    """
    assert histogram is not None
    counts = histogram.counts.reshape(-1, MERGED).sum(axis=1).astype(np.float64)
    counts[0] = counts[1]
    used = int(np.max(np.nonzero(counts)[0], initial=0)) + 1
    if used <= LEVELS:
        return amax
    candidates = np.array([*range(LEVELS, used, STEP // MERGED), used])
    best = int(candidates[_divergences(counts, candidates).argmin()])
    return float(min(amax, best * histogram.width * MERGED))


def _divergences(counts: Floats, kept: npt.NDArray[np.int64]) -> Floats:
    """KL divergence, for each of `kept`, of that many first bins (outliers in the last one) from their image on LEVELS.

    p is the fraction of values in a bin, q that of its image, which is the same for all filled bins of a level. The sum
    of p log(p/q) is that of p log p over bins less that of p log q over levels: sums over neighbouring bins, which are
    differences of cumulated ones, so that all candidates are computed at once.
    """
    total = counts.sum()
    logs = np.log(counts, out=np.zeros_like(counts), where=counts > 0)
    terms = (counts, counts > 0, counts * logs)
    # Entry n of each is the sum of the first n values.
    mass, filled, entropy = (np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)]) for values in terms)
    edges = np.arange(LEVELS + 1) * kept[:, None] // LEVELS  # of the levels, (candidates, LEVELS + 1)
    sums, occupied = np.diff(mass[edges], axis=1), np.diff(filled[edges], axis=1)
    level = sums / np.maximum(occupied, 1.0) / np.maximum(mass[kept], 1.0)[:, None]
    image_logs = np.log(level, out=np.zeros_like(level), where=level > 0)
    last, outliers = counts[kept - 1], total - mass[kept]
    represented = last > 0  # whether there is an image for the outliers
    gained = np.where(represented, outliers, 0.0)
    # Of the last bin, which has the outliers too.
    ends = np.where(represented, (last + gained) * np.log(np.maximum(last + gained, 1.0)) - last * logs[kept - 1], 0.0)
    represented_mass = mass[kept] + gained
    p_log_p = (entropy[kept] + ends) / total - represented_mass / total * np.log(total)
    p_log_q = ((sums * image_logs).sum(axis=1) + gained * image_logs[:, -1]) / total
    lost = (outliers - gained) / total  # mass that the image cannot represent at all
    divergences = p_log_p - p_log_q + lost * np.log(BINS)
    return np.where(mass[kept] > 0, divergences, np.inf)
