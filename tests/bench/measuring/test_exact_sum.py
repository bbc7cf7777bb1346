"""Exact sums: what fractions give, for every order, grouping and size of the values."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn_deploy.bench.measuring.exact_sum import ExactSum

POSITIVE = st.floats(min_value=0.0, max_value=1e300, allow_subnormal=True)


def summed(values: list[float]) -> ExactSum:
    total = ExactSum()
    total.add(np.array(values, dtype=np.float64))
    return total


@given(st.lists(POSITIVE, max_size=50))
def test_a_sum_is_exact(values: list[float]) -> None:
    total = summed(values)
    assert Fraction(total.units, 2**1074) == sum(map(Fraction, values))
    assert total.count == len(values)


@given(st.lists(POSITIVE, min_size=1, max_size=30), st.randoms())
def test_order_and_groups_change_nothing(values: list[float], dice: object) -> None:
    whole, shuffled = summed(values), values.copy()
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    cut = len(values) // 3
    assert summed(shuffled[cut:]).merged(summed(shuffled[:cut])) == whole
    assert whole.mean == float(sum(map(Fraction, values)) / len(values)), "rounded once"


@pytest.mark.parametrize("value", [5e-324, 2.0**-1022, 2.0**-1022 - 5e-324, 1.7976931348623157e308, 0.1, 1.0])
def test_the_ends_of_the_range_are_exact(value: float) -> None:
    assert Fraction(summed([value, value, value]).units, 2**1074) == 3 * Fraction(value)


def test_many_values_of_any_shape() -> None:
    values = np.random.default_rng(2).random((64, 1000))
    total = ExactSum()
    total.add(values)
    assert Fraction(total.units, 2**1074) == sum(Fraction(float(value)) for value in values.flat)
    assert total.mean == pytest.approx(values.mean())


def test_more_values_than_are_added_together(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random(1000)
    whole = ExactSum()
    whole.add(values)
    monkeypatch.setattr("wrn_deploy.bench.measuring.exact_sum.PIECE", 7)
    pieces = ExactSum()
    pieces.add(values)
    assert pieces == whole
