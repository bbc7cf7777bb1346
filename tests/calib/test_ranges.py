"""What is kept of a tensor: the same bits for every order and every batch size, in one pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.calib.ranges import BINS, Histogram, Range
from wrn_deploy.errors import DeployError

Values = npt.NDArray[np.float32]


def observed(*batches: Values) -> Range:
    kept = Range(Histogram())
    for batch in batches:
        kept.observe("tensor", batch)
    return kept


def same(first: Range, second: Range) -> bool:
    assert first.histogram is not None
    assert second.histogram is not None
    return (
        (first.low, first.high, first.values) == (second.low, second.high, second.values)
        and first.histogram.exponent == second.histogram.exponent
        and np.array_equal(first.histogram.counts, second.histogram.counts)
    )


def many_kinds(dice: np.random.Generator) -> Values:
    """Values over 60 binary orders of magnitude, with zeros, exact powers of two and their neighbours."""
    wide = dice.normal(size=400) * 2.0 ** dice.integers(-30, 30, size=400)
    powers = 2.0 ** dice.integers(-20, 20, size=50)
    edges = np.concatenate([powers, np.nextafter(powers.astype(np.float32), np.float32(0))])
    values = np.concatenate([wide, edges, -edges, np.zeros(50), dice.normal(size=400)])
    dice.shuffle(values)
    return values.astype(np.float32)


@pytest.mark.parametrize("seed", range(20))
def test_order_and_batch_size_do_not_change_a_bit(seed: int) -> None:
    dice = np.random.default_rng(seed)
    values = many_kinds(dice)
    whole = observed(values)
    for _ in range(10):
        shuffled = dice.permutation(values)
        cuts = np.sort(dice.integers(1, len(values), size=dice.integers(1, 20)))
        batches = [batch for batch in np.split(shuffled, cuts) if len(batch)]
        assert same(observed(*batches), whole), f"{len(batches)} batches"


def test_the_shape_of_a_batch_does_not_matter() -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    assert same(observed(values), observed(values.ravel()))
    assert same(observed(np.asfortranarray(values)), observed(values))


@pytest.mark.parametrize("largest", [1e-38, 1e-20, 0.3, 1.0, 255.0, 2.0**40, 3e38])
def test_doubling_the_range_loses_no_value(largest: float) -> None:
    small, large = np.full(7, 1e-30, dtype=np.float32), np.array([largest], dtype=np.float32)
    histogram = observed(small, large).histogram
    assert histogram is not None
    assert histogram.counts.sum() == 8
    assert histogram.width * BINS > float(large[0]), "the largest value is in the histogram"
    if largest > 1e-28:
        assert histogram.counts[0] == 7
        assert histogram.counts[int(large[0] / histogram.width)] == 1
        assert np.flatnonzero(histogram.counts)[-1] >= BINS // 2, "at least half of the bins are used"


def test_the_counts_are_those_of_numpys_histogram() -> None:
    values = np.random.default_rng(1).normal(size=20_000).astype(np.float32)
    histogram = observed(*np.split(values, 8)).histogram
    assert histogram is not None
    edges = np.arange(BINS + 1) * histogram.width
    np.testing.assert_array_equal(histogram.counts, np.histogram(np.abs(values.astype(np.float64)), edges)[0])


def test_values_at_a_bins_edge_belong_to_the_upper_bin() -> None:
    histogram = observed(np.array([1.0, 0.5, 0.25], dtype=np.float32)).histogram
    assert histogram is not None
    assert histogram.exponent == 1
    assert [*np.flatnonzero(histogram.counts)] == [BINS // 8, BINS // 4, BINS // 2]


@pytest.mark.parametrize("values", [[0.0], [0.0, -0.0, 0.0], [1e-45], [1e-40, 0.0], [2.0**-114]])
def test_zeros_and_the_smallest_floats_are_counted(values: list[float]) -> None:
    batch = np.array(values, dtype=np.float32)
    kept = observed(batch, batch)
    assert kept.histogram is not None
    assert kept.histogram.counts.sum() == 2 * len(values)
    assert kept.histogram.counts.min() == 0
    assert kept.amax == batch.max()


def test_minimum_and_maximum_are_exact() -> None:
    kept = observed(np.array([0.1, -7.3], dtype=np.float32), np.array([[5.0], [0.2]], dtype=np.float32))
    assert (kept.low, kept.high, kept.values) == (float(np.float32(-7.3)), 5.0, 4)
    assert kept.amax == -kept.low


def test_the_share_above_a_threshold_is_counted_to_a_bin() -> None:
    values = np.linspace(0, 1, 10_001, dtype=np.float32)
    kept = observed(values)
    assert kept.share_above(0.9) == pytest.approx(0.1, abs=3e-4)
    assert kept.share_above(1.0) == 0.0
    assert kept.share_above(2.0) == 0.0
    assert Range(None).share_above(0.1) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_an_error(bad: float) -> None:
    values = np.ones((2, 3), dtype=np.float32)
    values[1, 1] = bad
    with pytest.raises(
        DeployError, match=r"block1\.relu has NaN or infinite values during calibration: expected finite"
    ):
        Range(Histogram()).observe("block1.relu", values)


def test_without_a_histogram_only_the_range_is_kept() -> None:
    kept = Range(None)
    kept.observe("tensor", np.array([-2.0, 3.0], dtype=np.float32))
    assert (kept.low, kept.high, kept.amax, kept.histogram) == (-2.0, 3.0, 3.0, None)
