"""What is kept of a tensor: the same bits for every order, every batch size and every way to merge, in one pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.calib.collection.ranges import BINS, CHUNK, Histogram, Part, Range

Values = npt.NDArray[np.float32]


def observed(*batches: Values) -> Part:
    """Batches of one channel, of any shape."""
    part = Part(histogram=Histogram())
    for batch in batches:
        part.observe(batch.min(keepdims=True).ravel(), batch.max(keepdims=True).ravel(), batch.size, batch)
    return part


def same(first: Part, second: Part) -> bool:
    assert first.histogram is not None
    assert second.histogram is not None
    return (
        first.values == second.values
        and np.array_equal(first.lows, second.lows)
        and np.array_equal(first.highs, second.highs)
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


def any_split(values: Values, dice: np.random.Generator) -> list[Values]:
    cuts = np.sort(dice.integers(1, len(values), size=dice.integers(1, 20)))
    return [batch for batch in np.split(dice.permutation(values), cuts) if len(batch)]


@pytest.mark.parametrize("seed", range(20))
def test_order_and_batch_size_do_not_change_a_bit(seed: int) -> None:
    dice = np.random.default_rng(seed)
    values = many_kinds(dice)
    whole = observed(values)
    for _ in range(10):
        batches = any_split(values, dice)
        assert same(observed(*batches), whole), f"{len(batches)} batches"


@pytest.mark.parametrize("seed", range(20))
def test_merged_parts_are_what_one_pass_gives_in_any_order(seed: int) -> None:
    dice = np.random.default_rng(seed)
    values = many_kinds(dice)
    whole = observed(values)
    for _ in range(10):
        parts = [observed(batch) for batch in any_split(values, dice)]
        merged = Part(histogram=Histogram())
        for part in parts:
            merged = merged.merged(part) if dice.random() < 0.5 else part.merged(merged)
        assert same(merged, whole), f"{len(parts)} parts"


def test_merging_leaves_its_parts_as_they_were() -> None:
    small, large = observed(np.full(3, 0.1, dtype=np.float32)), observed(np.full(5, 70.0, dtype=np.float32))
    before = small.histogram, small.values, small.high
    assert small.merged(large).values == large.merged(small).values == 8
    assert (small.histogram, small.values, small.high) == before
    assert same(small, observed(np.full(3, 0.1, dtype=np.float32)))
    assert same(large, observed(np.full(5, 70.0, dtype=np.float32)))


def test_more_values_than_a_chunk_are_all_counted() -> None:
    values = np.random.default_rng(3).normal(size=2 * CHUNK + 5).astype(np.float32)
    assert same(observed(values), observed(*np.split(values, [7, CHUNK])))


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


def one_half(values: Values, histogram: bool = True) -> Part:
    """`values` is (C, count)."""
    part = Part(histogram=Histogram() if histogram else None)
    part.observe(values.min(axis=1), values.max(axis=1), values.size, values)
    return part


def test_each_channel_has_its_largest_magnitude() -> None:
    first = np.array([[1.0, -5.0], [0.5, 0.25], [0.0, 0.0]], dtype=np.float32)
    second = np.array([[2.0, 3.0], [-0.75, 0.0], [0.0, 0.0]], dtype=np.float32)
    found = Range((one_half(first), one_half(second))).whole
    assert found.channels.dtype == np.float32
    assert [*found.channels] == [5.0, 0.75, 0.0]
    assert (found.low, found.high, found.amax, found.values) == (-5.0, 3.0, 5.0, 12)
    assert same(found, Range((one_half(second), one_half(first))).whole)


def test_a_half_without_images_changes_nothing() -> None:
    values = np.random.default_rng(2).normal(size=(4, 100)).astype(np.float32)
    full, empty = one_half(values), Part(histogram=Histogram())
    for found in (Range((full, empty)), Range((empty, full))):
        assert same(found.whole, full)
        assert [*found.whole.channels] == [*np.abs(values).max(axis=1)]
        assert (found.whole.low, found.whole.high, found.whole.amax) == (full.low, full.high, full.amax)
        assert found.disagreement(lambda _histogram, amax: amax) is None
    assert empty.amax == 0.0


def test_the_halves_thresholds_show_how_settled_they_are() -> None:
    values = np.random.default_rng(2).normal(size=(1, 100)).astype(np.float32)
    equal = Range((one_half(values), one_half(-values)))
    assert equal.disagreement(lambda _histogram, amax: amax) == 0.0
    unequal = Range((one_half(values), one_half(values * 4)))
    assert unequal.disagreement(lambda _histogram, amax: amax) == 0.75
    assert unequal.disagreement(lambda histogram, _amax: 0.0 if histogram is None else 2.0**histogram.exponent) == 0.75
    zeros = one_half(np.zeros((1, 3), dtype=np.float32))
    assert Range((zeros, zeros)).disagreement(lambda _histogram, amax: amax) == 0.0


def test_the_fraction_above_a_threshold_is_counted_to_a_bin() -> None:
    values = np.linspace(0, 1, 10_001, dtype=np.float32)
    kept = Range((one_half(values[None, ::2]), one_half(values[None, 1::2]))).whole
    assert kept.fraction_above(0.9) == pytest.approx(0.1, abs=3e-4)
    assert kept.fraction_above(1.0) == 0.0
    assert kept.fraction_above(2.0) == 0.0
    assert Range((Part(histogram=None), Part(histogram=None))).whole.fraction_above(0.1) == 0.0


def test_without_a_histogram_only_the_range_is_kept() -> None:
    half = one_half(np.array([[-2.0, 3.0]], dtype=np.float32), histogram=False)
    found = Range((half, half)).whole
    assert (found.low, found.high, found.amax, found.values, found.histogram) == (-2.0, 3.0, 3.0, 4, None)


def test_of_very_many_values_an_even_sample_is_counted() -> None:
    """802,816 values, as 256 channels of 56x56 have: every third one."""
    values = np.random.default_rng(0).random(3136 * 256, dtype=np.float32)
    histogram = Histogram()
    histogram.add(values, float(values.max()))
    assert histogram.counts.sum() == len(values[::3])
    assert np.array_equal(
        histogram.counts, np.histogram(values[::3], bins=BINS, range=(0.0, 2.0**histogram.exponent))[0]
    )
