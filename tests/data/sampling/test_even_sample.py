"""A Spread chooses evenly, always the same, and decodes nothing in vain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.data import Item, Role, open_data
from wrn_deploy.data.sampling.even_sample import Spread


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

    def _load(self, number: int) -> npt.NDArray[np.uint8]:
        self.decoded.append(number)
        return np.zeros((2, 2, 3), dtype=np.uint8)


def chosen(total: int, count: int) -> list[int]:
    return [int(item.name) for item in Spread(Sorted(total), count).items()]


@pytest.mark.parametrize("total", [1, 2, 7, 10, 97, 1000])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 999, 1000])
def test_as_many_as_asked_for_at_even_distances(total: int, count: int) -> None:
    numbers = chosen(total, count)
    assert len(numbers) == len(Spread(Sorted(total), count)) == min(count, total)
    assert numbers[0] == 0
    gaps = np.diff([*numbers, total])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_sorted_classes_are_all_there_and_balanced() -> None:
    labels = [item.label for item in Spread(Sorted(100), 30).items()]
    assert [labels.count(label) for label in range(10)] == [3] * 10


def test_the_same_ones_every_time() -> None:
    spread = Spread(open_data("digits", Role.TRAIN), 20)
    first, second = ([item.name for item in spread.items()] for _ in range(2))
    assert first == second
    assert len(set(first)) == 20


def test_only_the_chosen_ones_are_decoded() -> None:
    source = Sorted(100)
    for item in Spread(source, 10).items():
        item.load()
    assert source.decoded == [*range(0, 100, 10)]


def test_it_is_a_source_like_the_one_it_chooses_from() -> None:
    spread = Spread(Sorted(10), 5)
    assert (spread.name, spread.labels, spread.mirror) == ("sorted", ("a", "b"), True)
