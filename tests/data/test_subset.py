"""An even sample and a subset choose the right images, always the same, and decode nothing in vain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.made import Pixels
from tests.data.properties import quickly
from wrn_deploy.data import Item, Role, open_data
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.subset import adjacent, even_sample, subset
from wrn_deploy.data.sources import StreamPart, indexed_source, stream_source
from wrn_deploy.errors import UsageError


class Sorted:
    """Images sorted by class, ten of each; counts how often one is decoded."""

    def __init__(self, count: int) -> None:
        self.name, self.mirror = "sorted", True
        self.labels: tuple[str, ...] = ("a", "b")
        self._count = count
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return self._count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        del order
        for number in range(self._count):
            yield Item(str(number), number // 10, partial(self._load, number))

    def _load(self, number: int) -> Pixels:
        self.decoded.append(number)
        return np.zeros((2, 2, 3), dtype=np.uint8)


def chosen(total: int, count: int) -> list[int]:
    return [int(item.name) for item in even_sample(Sorted(total), count).items()]


@pytest.mark.parametrize("total", [1, 2, 7, 10, 97, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 999, 1000])
def test_as_many_as_asked_for_at_even_distances(total: int, count: int) -> None:
    numbers = chosen(total, count)
    assert len(numbers) == len(even_sample(Sorted(total), count)) == min(count, total)
    assert numbers[0] == 0
    gaps = np.diff([*numbers, total])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@quickly
@given(st.integers(1, 300), st.integers(1, 400))
def test_a_sample_is_of_distinct_sorted_images(total: int, count: int) -> None:
    numbers = chosen(total, count)
    assert len(numbers) == min(count, total)
    assert numbers == sorted({*numbers})
    assert {*numbers} <= {*range(total)}


def test_sorted_classes_are_all_there_and_balanced() -> None:
    labels = [item.label for item in even_sample(Sorted(100), 30).items()]
    assert [labels.count(label) for label in range(10)] == [3] * 10


def test_the_same_ones_every_time() -> None:
    spread = even_sample(open_data("digits", Role.TRAIN), 20)
    first, second = ([item.name for item in spread.items()] for _ in range(2))
    assert first == second
    assert len(set(first)) == 20


def test_only_the_chosen_ones_are_decoded() -> None:
    source = Sorted(100)
    for item in even_sample(source, 10).items():
        item.load()
    assert source.decoded == [*range(0, 100, 10)]


def test_it_is_a_source_like_the_one_it_chooses_from() -> None:
    spread = even_sample(Sorted(10), 5)
    assert (spread.name, spread.labels, spread.mirror) == ("sorted", ("a", "b"), True)


@quickly
@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.sampled_from([None, 0]))
def test_a_subset_and_its_complement_are_the_whole(total: int, wanted: set[int], seed: int | None) -> None:
    wanted = {number for number in wanted if number < total}
    source, names = Sorted(total), {str(number) for number in wanted}
    kept, others = subset(source, names, len(wanted), keep=True), subset(source, names, total - len(wanted), keep=False)
    orders = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
    found = [[int(item.name) for item in part.items(order)] for part, order in zip((kept, others), orders, strict=True)]
    assert [len(part) for part in found] == [len(kept), len(others)]
    assert {*found[0]} == wanted
    assert sorted(found[0] + found[1]) == [*range(total)]
    assert source.decoded == []


@quickly
@given(st.integers(1, 300), st.integers(1, 400), st.integers(1, 40))
def test_the_shards_of_a_sample_are_the_sample(total: int, count: int, shards: int) -> None:
    size = min(count, total)
    shards = min(shards, size)
    source = Sorted(total)
    parts = [even_sample(source, count, Block(index=index, count=shards).of(size)) for index in range(shards)]
    assert [int(item.name) for part in parts for item in part.items()] == chosen(total, count)
    assert [len(part) for part in parts] == [len([*part.items()]) for part in parts]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@quickly
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 9))
def test_adjacent_images_in_blocks_are_all_images(total: int, shards: int, unit: int) -> None:
    shards = min(shards, -(-total // unit))
    blocks = [Block(index=index, count=shards).of(total, unit) for index in range(shards)]
    parts = [[int(item.name) for item in adjacent(Sorted(total), block).items()] for block in blocks]
    assert [number for part in parts for number in part] == [*range(total)]
    assert all(part[0] % unit == 0 for part in parts)


def test_more_shards_than_units_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shard 0/5: expected at most 4 shards of 13 images, 4 or more in each"):
        Block(index=0, count=5).of(13, 4)


def black() -> Pixels:
    return np.zeros((2, 2, 3), dtype=np.uint8)


class Parts:
    """Three parts of 10, 0 and 5 images; notes which of them are read."""

    def __init__(self) -> None:
        self.read: list[int] = []
        sizes = (10, 0, 5)
        starts = (0, 10, 10)
        parts = [
            StreamPart(size, 0, partial(self._items, number, start, size))
            for number, (start, size) in enumerate(zip(starts, sizes, strict=True))
        ]
        self.source = stream_source("parts", parts)

    def _items(self, number: int, start: int, size: int) -> Iterator[Item]:
        self.read.append(number)
        for index in range(start, start + size):
            yield Item(str(index), None, black)


@pytest.mark.parametrize(("places", "read"), [(range(3, 9), [0]), (range(10, 15), [2]), (range(8, 12), [0, 2])])
def test_parts_outside_of_a_shard_are_not_read(places: range, read: list[int]) -> None:
    """An empty part need not be skipped."""
    parts = Parts()
    assert [int(item.name) for item in adjacent(parts.source, places).items()] == [*places]
    assert [number for number in parts.read if number != 1] == read
    parts.read.clear()
    assert [int(item.name) for item in even_sample(parts.source, 15, places).items()] == [*places]
    assert [number for number in parts.read if number != 1] == read


def test_an_indexed_source_makes_no_item_that_is_not_wanted() -> None:
    made: list[int] = []

    def item(index: int) -> Item:
        made.append(index)
        return Item(str(index), None, black)

    source = indexed_source("indexed", 20, item)
    assert [found.name for found in adjacent(source, range(7, 9)).items()] == ["7", "8"]
    assert made == [7, 8]
