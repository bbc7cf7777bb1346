"""The rule on what may be said of a ratio: it is quoted only if it holds, and a bound is always on the safe side."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.verdicts import BUSY, TAKEN, WIDE, Conclusion, Doubts, decide

QUIET = Doubts()
NOISY = Conclusion.TOO_NOISY.value


@pytest.mark.parametrize(
    ("ratio", "fastest", "doubts", "words"),
    [
        (Ratio(1.01, 0.98, 1.05), 1.0, QUIET, "no difference shown"),
        (Ratio(0.97, 0.96, 0.98), 0.97, QUIET, "1.03x as fast"),
        (Ratio(1.1, 1.08, 1.12), 1.1, QUIET, "1.10x the time"),
        (Ratio(0.25, 0.24, 0.26), 0.25, QUIET, "4.0x as fast"),
        (Ratio(0.004, 0.0039, 0.0041), 0.004, QUIET, "250x as fast"),
        (Ratio(3.21, 3.2, 3.3), 3.2, QUIET, "3.2x the time"),
        (Ratio(1.003, 1.002, 1.004), 1.003, QUIET, "within 0.5 %"),
        (Ratio(0.00029, 0.000144, 0.0341), 0.082, QUIET, "at least 12x as fast"),  # 3449x on a busy machine
        (Ratio(0.00029, 0.000144, 0.0341), 0.001, QUIET, "at least 29x as fast"),
        (Ratio(0.1, 0.099, 0.101), 0.2, QUIET, "at least 5.0x as fast"),  # a steady load: narrow, and wrong
        (Ratio(4.0, 2.06, 9.0), 4.0, QUIET, "at least 2.0x the time"),
        (Ratio(0.7, 0.4, 1.1), 0.7, QUIET, NOISY),
        (Ratio(0.5, 0.45, 0.996), 0.5, QUIET, NOISY),  # the bound rounds to 1
        (Ratio(1.5, 1.49, 1.51), 0.9, QUIET, NOISY),  # the fastest runs say the opposite
        (Ratio(0.25, 0.24, 0.26), 0.25, Doubts(unsettled=("A",)), "at least 3.8x as fast"),
        (Ratio(1.01, 0.98, 1.05), 1.0, Doubts(unsettled=("A", "B")), NOISY),
        (Ratio(0.25, 0.24, 0.26), 0.25, Doubts(taken=TAKEN), "4.0x as fast"),
        (Ratio(0.25, 0.24, 0.26), 0.25, Doubts(taken=TAKEN + 0.01), "at least 3.8x as fast"),
        (Ratio(0.25, 0.24, 0.26), 0.25, Doubts(taken=BUSY), "at least 3.8x as fast"),
        (Ratio(0.25, 0.24, 0.26), 0.25, Doubts(taken=BUSY + 0.01), NOISY),
        (None, 0.25, QUIET, "too few rounds to conclude"),
        (None, 0.25, Doubts(taken=0.9), NOISY),
    ],
)
def test_what_may_be_said(ratio: Ratio | None, fastest: float, doubts: Doubts, words: str) -> None:
    found = decide(ratio, fastest, doubts)
    assert found.words == words
    assert (found.ratio is not None) == found.holds
    assert found.holds == (found.because is None and ratio is not None)


def test_it_says_why() -> None:
    ratio = Ratio(0.25, 0.24, 0.26)
    assert decide(ratio, 0.25, QUIET).because is None
    assert decide(ratio, 0.25, Doubts(taken=0.714)).because == "other programs used 71 % of the CPU time"
    unsettled = Doubts(unsettled=("A fp32", "B int8"))
    assert decide(ratio, 0.25, unsettled).because == "the times of A fp32 and B int8 had not settled after warming up"
    assert decide(ratio, 0.25 * WIDE, QUIET).because == "the times vary too much"


@pytest.mark.parametrize(
    ("ratio", "doubts", "text"),
    [
        (Ratio(0.25, 0.24, 0.26), QUIET, "4.0x as fast as B"),
        (Ratio(0.25, 0.24, 0.26), Doubts(unsettled=("A",)), "at least 3.8x as fast as B"),
        (Ratio(1.1, 1.08, 1.12), QUIET, "1.10x the time of B"),
        (Ratio(1.003, 1.002, 1.004), QUIET, "within 0.5 % of B"),
        (Ratio(1.0, 0.98, 1.05), QUIET, "no difference shown to B"),
        (Ratio(1.0, 0.98, 1.05), Doubts(taken=1.0), "too noisy to compare with B"),
        (None, QUIET, "too few rounds to compare with B"),
    ],
)
def test_it_makes_a_sentence(ratio: Ratio | None, doubts: Doubts, text: str) -> None:
    assert decide(ratio, ratio.value if ratio else 1.0, doubts).about("B") == text


POSITIVE = st.floats(1e-6, 1e6)


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE, st.floats(0, 1), st.booleans())
def test_what_is_quoted_never_exceeds_what_is_known(
    first: float, second: float, third: float, fastest: float, taken: float, settled: bool
) -> None:
    low, value, high = sorted((first, second, third))
    found = decide(Ratio(value, low, high), fastest, Doubts(taken=taken, unsettled=() if settled else ("A",)))
    assert "1.00x" not in found.words
    assert not (found.faster and found.slower)
    if found.conclusion is Conclusion.BOUND:
        number = re.fullmatch(r"at least ([0-9.]+)x (as fast|the time)", found.words)
        assert number is not None
        nearest = min(abs(np.log([low, high, fastest])))
        assert np.log(float(number[1])) <= nearest + 1e-9
    if found.conclusion is Conclusion.RATIO:
        assert max(high, fastest) <= WIDE * min(low, fastest)


def test_a_load_that_slows_one_candidate_in_all_rounds_gives_no_wrong_ratio() -> None:
    """Two threads that wait for each other on cores that others have, too: most runs are slow, the fastest is not."""
    random = np.random.default_rng(5)
    base = [[1.7 if random.random() < 0.02 else 4.0 + random.exponential(0.4) for _ in range(20)] for _ in range(30)]
    quick = [[0.139 * (1 + random.exponential(0.02)) for _ in range(20)] for _ in range(30)]
    ratio = paired_ratio(quick, base)
    assert ratio is not None
    assert ratio.high < 1.2 * ratio.low, "the interval alone does not show it"
    found = decide(ratio, 0.139 / 1.7, QUIET)
    assert (found.words, found.ratio) == ("at least 12x as fast", None)
