"""How much slower or faster one candidate is than another, with an interval: paired in one run, or of two runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIDENCE", "MIN_ROUNDS", "Ratio", "paired_ratio", "unpaired_ratio"]

CONFIDENCE = 0.95
MIN_ROUNDS = 6  # with 5, resampling reaches both extremes of the rounds too often for an interval of 95 %
RESAMPLES = 4000

Rounds = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The time of one candidate over that of another, with a 95 % interval; above 1: slower."""

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the interval leaves out 1."""
        return not self.low <= 1.0 <= self.high


def paired_ratio(times: Rounds, baseline: Rounds, seed: int = 0) -> Ratio | None:
    """The median over the rounds of the ratio of the two candidates' medians in a round.

    In a round both candidates take turns one soon after the other, so that whatever slows the machine for longer than a
    round cancels; a median of medians ignores single disturbed turns. The interval is a percentile bootstrap
    over whole rounds (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13), since samples within
    a turn are not independent.

    Args:
        times: the candidate's times, a sequence for each round.
        baseline: times of the candidate to compare with, in the same rounds and unit.
        seed: of the resampling; the same times give the same interval.

    Returns:
        None if they share fewer than MIN_ROUNDS rounds.
    """
    both = [(np.median(mine), np.median(other)) for mine, other in zip(times, baseline, strict=False) if mine and other]
    if len(both) < MIN_ROUNDS:
        return None
    pairs = np.asarray(both, dtype=np.float64)
    ratios: npt.NDArray[np.float64] = pairs[:, 0] / pairs[:, 1]
    chosen = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    return Ratio(float(np.median(ratios)), *_ends(np.median(ratios[chosen], axis=1)))


def unpaired_ratio(after: Sequence[float], before: Sequence[float], seed: int = 0) -> Ratio | None:
    """The median over the rounds of one run, divided by that of another run, which had other rounds.

    Each run's rounds are resampled by themselves (the two-sample bootstrap of Efron and Tibshirani, as above, section
    8.3), in blocks of neighbours around a circle (Politis and Romano, "A circular block-resampling procedure for
    stationary data", in "Exploring the Limits of Bootstrap", 1992), since what disturbs a machine lasts for longer than
    a round. A block has the cube root of the number of rounds. What differs between two runs as wholes, such as
    another load or clock of the machine, is not in the interval, and cannot be found from two runs.

    Args:
        after: one number a round of the run that is asked about, in the order of the rounds: a time, or a ratio of two.
        before: those of the run it is compared with, in the same unit.
        seed: of the resampling; the same numbers give the same interval.

    Returns:
        None if one of them has fewer than MIN_ROUNDS rounds.
    """
    if min(len(after), len(before)) < MIN_ROUNDS:
        return None
    random = np.random.default_rng(seed)
    resampled = _medians_of_blocks(after, random) / _medians_of_blocks(before, random)
    return Ratio(float(np.median(after) / np.median(before)), *_ends(resampled))


def _medians_of_blocks(rounds: Sequence[float], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """The medians of RESAMPLES resamples in blocks, each as long as `rounds`."""
    values, count = np.asarray(rounds, dtype=np.float64), len(rounds)
    length = math.ceil(count ** (1 / 3))
    starts = random.integers(0, count, (RESAMPLES, math.ceil(count / length), 1))
    chosen = ((starts + np.arange(length)) % count).reshape(RESAMPLES, -1)[:, :count]
    medians: npt.NDArray[np.float64] = np.median(values[chosen], axis=1)
    return medians


def _ends(resampled: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the percentile interval."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
