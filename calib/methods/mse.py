"""Calibration by the smallest squared error between the values and their int8 images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.collection.ranges import BINS, Histogram

__all__ = ["NEEDS_HISTOGRAM", "threshold"]

NEEDS_HISTOGRAM = True

LEVELS = 127  # magnitudes above zero that symmetric int8 distinguishes
CANDIDATES = 128  # thresholds that are tried, evenly from a fraction of amax to amax
LOWEST = 0.05  # the lowest of them, as a fraction of amax

Floats = npt.NDArray[np.float64]


def threshold(histogram: Histogram | None, amax: float, _percentile: float) -> float:
    """Returns the threshold with the smallest sum of squared errors over the bins' centres, `amax` at most."""
    assert histogram is not None
    if amax <= LEVELS * histogram.width:
        return amax  # always zero, or so tiny that the histogram cannot separate the levels
    fractions = np.linspace(LOWEST, 1.0, CANDIDATES)
    best = fractions[_errors(histogram.counts, fractions * (amax / histogram.width)).argmin()]
    return float(best * amax)


def _errors(counts: npt.NDArray[np.int64], limits: Floats) -> Floats:
    """The sums of squared errors for `limits`, all in widths of a bin.

    The bins that a level stands for are neighbours: with n, s and q the sums of their counts, of their values and of
    those squared, their error is q - 2 level s + level**2 n. These sums are differences of cumulated ones, so that all
    limits are computed at once.
    """
    centres = np.arange(BINS) + 0.5
    cumulated = [np.concatenate([[0.0], np.cumsum(counts * centres**power)]) for power in (0, 1)]
    levels = np.arange(LEVELS + 1) * (limits / LEVELS)[:, None]  # (limits, LEVELS + 1)
    between = (levels[:, 1:] + levels[:, :-1]) / 2
    edges = np.clip(np.ceil(between - 0.5), 0, BINS).astype(np.int64)  # the first bin of each level but 0
    first, beyond = np.zeros((len(limits), 1), dtype=np.int64), np.full((len(limits), 1), BINS)
    numbers, sums = (np.diff(values[np.concatenate([first, edges, beyond], axis=1)], axis=1) for values in cumulated)
    squares = float((counts * centres**2).sum())
    errors: Floats = squares + (levels * (levels * numbers - 2 * sums)).sum(axis=1)
    return errors
