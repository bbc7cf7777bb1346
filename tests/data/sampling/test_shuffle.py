"""The shuffle buffer and interleaving keep their promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.properties import quickly
from wrn_deploy.data.sampling.shuffle import interleave, shuffled


@pytest.mark.parametrize("capacity", [1, 7, 100, 1000])
def test_the_shuffle_buffer_loses_nothing_and_holds_no_more_than_its_capacity(capacity: int) -> None:
    out: list[int] = []
    for number in shuffled(range(100), np.random.default_rng(0), capacity):
        assert number <= len(out) + capacity
        out.append(number)
    assert sorted(out) == list(range(100))


def test_a_large_enough_shuffle_buffer_is_uniform() -> None:
    order = np.random.default_rng(0)
    firsts = [next(iter(shuffled(range(4), order, 4))) for _ in range(4000)]
    assert np.bincount(firsts, minlength=4).min() > 900


def test_streams_are_mixed_as_if_shuffled_together_and_each_keeps_its_order() -> None:
    order = np.random.default_rng(0)
    firsts = []
    for _ in range(2000):
        mixed = list(interleave([(3, iter([0, 1, 2])), (1, iter([9])), (0, iter([]))], order))
        assert [number for number in mixed if number != 9] == [0, 1, 2]
        firsts.append(mixed.index(9))
    assert np.bincount(firsts, minlength=4).min() > 420


@quickly
@given(st.lists(st.integers()), st.integers(1, 60), st.integers(0, 2**32))
def test_the_shuffle_buffer_gives_a_permutation_which_the_generator_decides(
    items: list[int], capacity: int, seed: int
) -> None:
    first, second = (list(shuffled(items, np.random.default_rng(seed), capacity)) for _ in range(2))
    assert sorted(first) == sorted(items)
    assert first == second


@quickly
@given(st.lists(st.integers(0, 20), max_size=6), st.integers(0, 2**32))
def test_interleaved_streams_lose_nothing_and_keep_their_orders(lengths: list[int], seed: int) -> None:
    streams = [(count, iter([(number, index) for index in range(count)])) for number, count in enumerate(lengths)]
    mixed = list(interleave(streams, np.random.default_rng(seed)))
    assert len(mixed) == sum(lengths)
    for number, count in enumerate(lengths):
        assert [index for stream, index in mixed if stream == number] == [*range(count)]
