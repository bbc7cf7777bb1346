"""Ratios with intervals: what they are, that they see a tenth through noise, and do not see what is not there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.bench.report.ratios import MIN_ROUNDS, paired_ratio, unpaired_ratio

Rounds = list[list[float]]


def noisy(random: np.random.Generator, load: npt.NDArray[np.float64], factor: float = 1.0, turn: int = 10) -> Rounds:
    """Rounds of a candidate of `factor` ms on a machine that is slowed by `load` in each round and, at times, more."""
    rounds = []
    for slowed in load:
        burst = 1.0 + (random.random() < 0.2) * random.exponential(1.0)
        rounds.append((factor * slowed * burst * (1.0 + random.exponential(0.05, turn))).tolist())
    return rounds


def drifting(random: np.random.Generator, rounds: int) -> npt.NDArray[np.float64]:
    """Other work on the machine that comes and goes over many rounds: up to three times slower."""
    walk = np.cumsum(random.normal(0, 0.3, rounds))
    return 1.0 + 2.0 / (1.0 + np.exp(-walk))


def test_equal_rounds_give_exactly_their_ratio() -> None:
    baseline = [[1.0, 2.0, 3.0]] * 8
    found = paired_ratio([[time * 1.5 for time in turn] for turn in baseline], baseline)
    assert found is not None
    assert (found.value, found.low, found.high) == (1.5, 1.5, 1.5)
    assert found.shown


def test_the_same_times_give_the_same_interval() -> None:
    random = np.random.default_rng(1)
    load = drifting(random, 20)
    first, second = noisy(random, load), noisy(random, load)
    assert paired_ratio(first, second) == paired_ratio(first, second)


def test_what_slows_the_whole_machine_cancels() -> None:
    load = np.linspace(1, 10, 12)
    found = paired_ratio([[1.2 * slowed] for slowed in load], [[slowed] for slowed in load])
    assert found is not None
    assert found.low == pytest.approx(1.2)
    assert found.high == pytest.approx(1.2)


def test_a_tenth_is_found_and_nothing_is_not_on_a_noisy_machine() -> None:
    random = np.random.default_rng(7)
    found = same = 0
    for _ in range(100):
        load = drifting(random, 30)
        slower = paired_ratio(noisy(random, load, 1.1), noisy(random, load))
        copy = paired_ratio(noisy(random, load), noisy(random, load))
        assert slower is not None
        assert copy is not None
        found += slower.low > 1.0
        same += not copy.shown
    assert found >= 95
    assert same >= 93  # of 100; one in twenty may differ by chance


def test_rounds_without_both_are_left_out() -> None:
    times: Rounds = [[2.0]] * 7 + [[]] + [[2.0]]
    baseline: Rounds = [[1.0]] * 6 + [[]] + [[1.0], [1.0]]
    found = paired_ratio(times, baseline)
    assert found is not None
    assert found.value == 2.0


def test_too_few_rounds_give_no_interval() -> None:
    assert paired_ratio([[1.0]] * (MIN_ROUNDS - 1), [[1.0]] * 20) is None


def test_two_runs_are_compared_by_their_medians() -> None:
    found = unpaired_ratio([3.0] * 8, [2.0] * 20)
    assert found is not None
    assert (found.value, found.low, found.high) == (1.5, 1.5, 1.5)
    assert unpaired_ratio([1.0] * (MIN_ROUNDS - 1), [1.0] * 20) is None
    assert unpaired_ratio([1.0] * 20, [1.0] * (MIN_ROUNDS - 1)) is None


def test_two_runs_on_a_steady_machine_show_a_tenth_and_not_nothing() -> None:
    random = np.random.default_rng(3)
    found = same = 0
    for _ in range(100):
        before, slower, copy = ((factor * (1 + random.exponential(0.05, 30))).tolist() for factor in (1.0, 1.1, 1.0))
        ratios = unpaired_ratio(slower, before), unpaired_ratio(copy, before)
        assert ratios[0] is not None
        assert ratios[1] is not None
        found += ratios[0].low > 1.0
        same += not ratios[1].shown
    assert found >= 95
    assert same >= 90  # of 100: blocks of four rounds leave few of them, so that intervals are a little too short


def test_rounds_that_depend_on_one_another_make_the_interval_longer() -> None:
    """The same numbers, once as slow and quick spells and once mixed."""
    mixed, settled = [1.0, 1.1, 1.05] * 10, [1.0] * 10 + [1.1] * 10 + [1.05] * 10
    of_mixed, of_settled = unpaired_ratio(mixed, [1.0] * 30), unpaired_ratio(settled, [1.0] * 30)
    assert of_mixed is not None
    assert of_settled is not None
    assert of_mixed.value == of_settled.value
    assert of_settled.high - of_settled.low > of_mixed.high - of_mixed.low
