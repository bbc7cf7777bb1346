"""How much slower or faster one contender is than another, with an interval: paired by the rounds they shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIDENCE", "LEAST_ROUNDS", "Ratio", "paired_ratio"]

CONFIDENCE = 0.95
LEAST_ROUNDS = 6  # with 5, resampling reaches both extremes of the rounds too often for an interval of 95 %
RESAMPLES = 4000

Rounds = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The time of one contender over that of another, and the interval that holds it; above 1: slower."""

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: the interval does not hold 1."""
        return not self.low <= 1.0 <= self.high


def paired_ratio(times: Rounds, baseline: Rounds, seed: int = 0) -> Ratio | None:
    """The median over the rounds of the ratio of the two contenders' medians in a round.

    A round holds both contenders' turns one soon after the other, so that what slows the machine for longer than a
    round cancels; a median of medians forgets single turns that were disturbed. The interval is a percentile bootstrap
    over whole rounds (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13), since samples within
    a turn are not independent.

    Args:
        times: the contender's times, a sequence for each round.
        baseline: those of the contender it is compared with, in the same rounds and unit.
        seed: of the resampling; the same times give the same interval.

    Returns:
        None where they share fewer than LEAST_ROUNDS rounds.
    """
    both = [(np.median(mine), np.median(other)) for mine, other in zip(times, baseline, strict=False) if mine and other]
    if len(both) < LEAST_ROUNDS:
        return None
    pairs = np.asarray(both, dtype=np.float64)
    ratios: npt.NDArray[np.float64] = pairs[:, 0] / pairs[:, 1]
    chosen = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(ratios[chosen], axis=1), [tail, 1 - tail])
    return Ratio(float(np.median(ratios)), float(low), float(high))
