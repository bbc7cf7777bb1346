"""Decides what may be said of a ratio of times: itself, a bound, no difference, or nothing; the one place of the rule.

A ratio is quoted only if three things agree that it holds:

1. *The interval is narrow.* It is widened to hold the ratio of both candidates' fastest runs: other programs make a run
   longer, never shorter, so that the fastest runs are the least disturbed ones. A load that slows one candidate in all
   rounds leaves a narrow bootstrap interval around a wrong ratio, far from that of the fastest runs. On a quiet machine
   the two agree within a third (`benchmarks/results`), so WIDE is 1.5.
2. *Both candidates had settled* after warming up.
3. *The cores were free.* If others took more than TAKEN of the cores' time, the fastest runs are still undisturbed, but
   medians need not be. From BUSY on nothing is known: a candidate with several threads waits for its slowest one, and
   one core shared for half of the time can make it ten times slower.

If the cores were busy, nothing is quoted. If another of the three fails, the end of the widened interval that is
nearest 1 is: "at least 2.9x as fast". It is rounded towards 1, and not quoted either if it then is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.formatting import compare_times, join_other

__all__ = ["BUSY", "TAKEN", "WIDE", "Conclusion", "Doubts", "Verdict", "decide"]

WIDE = 1.5  # the end of an interval over its begin
TAKEN = 0.1  # fraction of the usable cores' time
BUSY = 0.25


class Conclusion(StrEnum):
    """The kinds of verdicts."""

    RATIO = "ratio"
    BOUND = "bound"
    NO_DIFFERENCE = "no difference shown"
    TOO_NOISY = "too noisy to conclude"
    TOO_FEW_ROUNDS = "too few rounds to conclude"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What may be said of one candidate's time over another's.

    Args:
        conclusion: the kind.
        words: what every rendering prints, as in "2.1x as fast", "at least 2.9x as fast" or "no difference shown".
        because: why only a bound or nothing is quoted; null: the ratio holds.
        ratio: the time over the other's; above 1: slower; null: not to be quoted.
        low: the lower end of its interval; widened if only a bound is quoted; null: not to be quoted.
        high: the upper end.
    """

    conclusion: Conclusion
    words: str
    because: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def faster(self) -> bool:
        """Whether the candidate is shown to be faster than the other."""
        return self.conclusion in (Conclusion.RATIO, Conclusion.BOUND) and self.high is not None and self.high < 1

    @property
    def slower(self) -> bool:
        """Whether the candidate is shown to be slower than the other."""
        return self.conclusion in (Conclusion.RATIO, Conclusion.BOUND) and self.low is not None and self.low > 1

    @property
    def holds(self) -> bool:
        """Whether it is as exact as the interval says: no bound, and not without a conclusion."""
        return self.conclusion in (Conclusion.RATIO, Conclusion.NO_DIFFERENCE)

    def about(self, other: str) -> str:
        """The words with the other candidate's name, as in "2.1x as fast as PyTorch fp32"."""
        if self.conclusion in (Conclusion.RATIO, Conclusion.BOUND):
            return join_other(self.words, other)
        if self.conclusion is Conclusion.NO_DIFFERENCE:
            return f"no difference shown to {other}"
        return f"{self.conclusion.removesuffix('conclude')}compare with {other}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What else was seen: candidates that had not settled, and the fraction of the cores' time that others took."""

    unsettled: tuple[str, ...] = ()
    taken: float = 0.0


def decide(ratio: Ratio | None, fastest: float, doubts: Doubts) -> Verdict:
    """Decides by the rule above.

    Args:
        ratio: of the medians, with its interval; None: too few rounds for one.
        fastest: the ratio of the fastest runs.
        doubts: what else was seen.
    """
    if doubts.taken > BUSY:
        return Verdict(conclusion=Conclusion.TOO_NOISY, words=Conclusion.TOO_NOISY, because=_taken(doubts.taken))
    if ratio is None:
        return Verdict(conclusion=Conclusion.TOO_FEW_ROUNDS, words=Conclusion.TOO_FEW_ROUNDS)
    low, high = min(ratio.low, fastest), max(ratio.high, fastest)
    because = _reason(doubts, wide=high > WIDE * low)
    if because is None:
        words = compare_times(ratio.value) if ratio.shown else Conclusion.NO_DIFFERENCE
        kind = Conclusion.RATIO if ratio.shown else Conclusion.NO_DIFFERENCE
        return Verdict(conclusion=kind, words=words, ratio=ratio.value, low=ratio.low, high=ratio.high)
    bound = "" if low <= 1 <= high else compare_times(high if high < 1 else low, bound=True)
    if not bound:
        return Verdict(conclusion=Conclusion.TOO_NOISY, words=Conclusion.TOO_NOISY, because=because)
    return Verdict(conclusion=Conclusion.BOUND, words=bound, because=because, low=low, high=high)


def _reason(doubts: Doubts, *, wide: bool) -> str | None:
    if doubts.taken > TAKEN:
        return _taken(doubts.taken)
    if doubts.unsettled:
        return f"the times of {' and '.join(doubts.unsettled)} had not settled after warming up"
    return "the times vary too much" if wide else None


def _taken(fraction: float) -> str:
    return f"other programs used {100 * fraction:.0f} % of the CPU time"
