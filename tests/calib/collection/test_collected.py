"""What shards collected: through arrays and back unchanged, merged in any way to what one pass gives, or refused."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn_deploy.calib.collection.collected import Collected, Survey, merge_collected
from wrn_deploy.calib.collection.ranges import Histogram, Part, Range
from wrn_deploy.data.containers.array_file import Array
from wrn_deploy.errors import DamagedFile

SURVEY = Survey(factors={"a": (1.0, 2.0)}, shifts={}, scales={"a": 0.1, "b": 0.2}, exact_input=False)
CHANNELS = {"a": 2, "b": 3}
Values = npt.NDArray[np.float32]


def collected(seeds: list[int], *, histograms: bool = True) -> Collected:
    """What images give that are drawn from these seeds: each into a split of its own, by its number."""
    ranges = {}
    for name, channels in CHANNELS.items():
        parts = tuple(Part(histogram=Histogram() if histograms else None) for _ in (0, 1))
        for seed in seeds:
            values = image(seed, channels)
            flat = values.reshape(channels, -1)
            parts[seed % 2].observe(flat.min(axis=1), flat.max(axis=1), values.size, values)
        ranges[name] = Range((parts[0], parts[1]))
    codes = [np.random.default_rng(seed).integers(-127, 128, (2, 4, 1)) for seed in seeds]
    return Collected(
        survey=SURVEY,
        ranges=ranges,
        moments={"conv": np.sum([each @ each.swapaxes(1, 2) for each in codes], axis=0).astype(np.int32)},
        digests=tuple(seed.to_bytes(32, "little") for seed in seeds),
        pixels=np.full((min(2, len(seeds)), 4, 4, 3), seeds[0], dtype=np.uint8),
        answers=tuple(seeds[:2]),
    )


def image(seed: int, channels: int) -> Values:
    dice = np.random.default_rng(seed)
    values = dice.normal(size=(channels, 5, 5)) * 2.0 ** dice.integers(-20, 20)
    return values.astype(np.float32)


def through_arrays(block: Collected) -> Collected:
    return Collected.from_arrays(block.survey, block.content, block.to_arrays())


def assert_same(one: Collected, other: Collected) -> None:
    assert one.content == other.content
    mine, theirs = one.to_arrays(), other.to_arrays()
    assert mine.keys() == theirs.keys()
    for name in mine.keys() - {"digests", "pixels", "answers"}:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    assert sorted(one.digests) == sorted(other.digests)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=24, unique=True), st.integers(1, 8), st.randoms())
def test_shards_in_any_order_and_number_merge_to_one_pass(seeds: list[int], count: int, dice: Any) -> None:
    whole = collected(seeds)
    shards = [block for index in range(count) if (block := seeds[index::count])]
    dice.shuffle(shards)
    assert_same(merge_collected([through_arrays(collected(block)) for block in shards], 2), whole)


@given(st.permutations(range(6)))
def test_merges_of_merges_are_the_same(order: list[int]) -> None:
    blocks = [collected([seed, seed + 50]) for seed in order]
    pairs = [merge_collected(blocks[place : place + 2], 2) for place in (0, 2, 4)]
    assert_same(merge_collected(pairs, 2), merge_collected([collected([seed, seed + 50]) for seed in range(6)], 2))


@pytest.mark.parametrize("histograms", [True, False])
@pytest.mark.parametrize("seeds", [[3], [4, 7], [2, 4, 6]])
def test_arrays_keep_everything(seeds: list[int], histograms: bool) -> None:
    """One seed leaves a split empty."""
    block = collected(seeds, histograms=histograms)
    back = through_arrays(block)
    assert_same(back, block)
    assert (back.digests, back.answers) == (block.digests, block.answers)
    np.testing.assert_array_equal(back.pixels, block.pixels)
    for name, found in back.ranges.items():
        assert found.whole.amax == block.ranges[name].whole.amax
        assert [part.values for part in found.splits] == [part.values for part in block.ranges[name].splits]


def test_the_first_images_are_those_of_the_first_shards() -> None:
    blocks = [collected([seed, seed + 1]) for seed in (10, 20, 30)]
    merged = merge_collected(blocks, 3)
    assert merged.answers == (10, 11, 20)
    assert [int(pixels[0, 0, 0]) for pixels in merged.pixels] == [10, 10, 20]
    assert merged.digests == tuple(digest for block in blocks for digest in block.digests)


def test_one_shard_is_the_whole() -> None:
    block = collected([1, 2])
    assert merge_collected([block], 2) is block


def test_what_does_not_belong_together_is_refused() -> None:
    block = collected([1, 2])
    other = dataclasses.replace(block, survey=dataclasses.replace(SURVEY, exact_input=True))
    with pytest.raises(DamagedFile, match="the first images gave other values in some shards"):
        merge_collected([block, other], 2)
    with pytest.raises(DamagedFile, match="the ranges of other tensors"):
        merge_collected([block, dataclasses.replace(block, moments={})], 2)
    large = {"conv": np.full((2, 4, 4), 2**30, dtype=np.int32)}
    with pytest.raises(DamagedFile, match=r"moments of more than 2,147,483,647"):
        functools.reduce(
            lambda one, another: merge_collected([one, another], 2),
            [dataclasses.replace(block, moments=large) for _ in range(3)],
        )


def changed(name: str, place: tuple[int, ...], value: float) -> dict[str, Array]:
    arrays = {key: array.copy() for key, array in collected([1, 2, 3]).to_arrays().items()}
    arrays[name][place] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (changed("lows", (0, 0), np.nan), "impossible extremes"),
        (changed("lows", (1, 3), 1e38), "impossible extremes"),
        (changed("highs", (0, 1), np.inf), "impossible extremes"),
        (changed("values", (0, 0), -1), "impossible extremes"),
        (changed("values", (1, 1), 0), "impossible extremes"),
        (changed("channels", (0,), 0), "impossible number of channels"),
        (changed("channels", (0,), 3), r"'lows' is float32 \(2, 5\): expected float32 \(2, 6\)"),
        (changed("exponents", (0, 1), 200), "a histogram has an impossible range"),
        (changed("counts", (0, 0, 5), -1), "a histogram has an impossible range or count"),
        ({**collected([1]).to_arrays(), "pixels": np.zeros((5, 4, 4, 3), np.uint8)}, "'answers' is int64"),
        (
            {**collected([1]).to_arrays(), "pixels": np.zeros((2, 4, 4, 3), np.uint8), "answers": np.zeros(2, int)},
            "it has 1 images, and the pixels of 2 of them",
        ),
        ({**collected([1]).to_arrays(), "moments": np.zeros(31, np.int32)}, r"'moments' is int32 \(31,\)"),
    ],
)  # fmt: skip
def test_impossible_arrays_are_refused(arrays: dict[str, Array], said: str) -> None:
    with pytest.raises(DamagedFile, match=said):
        Collected.from_arrays(SURVEY, collected([1, 2, 3]).content, arrays)


@pytest.mark.parametrize("changes", [{"scales": {"a": 0.0}}, {"factors": {"a": (-1.0,)}}, {"shifts": {"a": (np.inf,)}}])
def test_an_impossible_survey_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedFile, match="impossible equalization or scale"):
        dataclasses.replace(SURVEY, **changes)
