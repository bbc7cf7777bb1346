"""The search for the fewest layers in fp16, on made-up costs: no graphs, no images."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wrn_deploy.pipeline.tuning.search import find_fewest

Kept = frozenset[str]
NAMES = [f"layer{index}" for index in range(11)]


class Costs:
    """Layers whose errors add up; a set is good if what is left in int8 costs no more than the budget."""

    def __init__(self, errors: dict[str, float], budget: float) -> None:
        self.errors = errors
        self.budget = budget
        self.asked: list[Kept] = []

    def meets(self, kept: Kept) -> bool:
        self.asked.append(kept)
        return sum(error for name, error in self.errors.items() if name not in kept) <= self.budget


def test_nothing_is_kept_where_all_int8_will_do() -> None:
    assert find_fewest(NAMES, lambda _kept: True) == frozenset()


def test_none_where_nothing_will_do() -> None:
    assert find_fewest(NAMES, lambda _kept: False) is None


def test_none_where_every_layer_is_needed() -> None:
    """A graph for int8 without a single int8 Conv is not one."""
    assert find_fewest(NAMES, lambda kept: len(kept) == len(NAMES)) is None


@pytest.mark.parametrize("budget", range(0, 60, 5))
def test_the_set_is_the_smallest_of_layers_with_one_cost_per_mac(budget: int) -> None:
    errors = {name: float(index) for index, name in enumerate(reversed(NAMES), start=1)}
    costs = Costs(errors, budget)
    kept = find_fewest(NAMES, costs.meets)
    if budget == 0:
        assert kept is None
        return
    assert kept is not None
    sizes = [size for size in range(len(NAMES)) if costs.meets(frozenset(NAMES[:size]))]
    assert len(kept) == sizes[0]


def test_a_layer_that_is_not_needed_goes_back_into_int8() -> None:
    """Ranked before those that are needed: a small one, whose error per MAC is high."""
    needed = frozenset({"layer2", "layer5"})
    assert find_fewest(NAMES, lambda kept: needed <= kept) == needed


@pytest.mark.parametrize("needed", [*itertools.combinations(NAMES[:6], 2), tuple(NAMES[:10])], ids=str)
def test_no_kept_layer_can_be_left_out(needed: tuple[str, ...]) -> None:
    asked: list[Kept] = []

    def meets(kept: Kept) -> bool:
        asked.append(kept)
        return kept >= {*needed} or ({*NAMES[:3]} <= kept and len(kept) > 4)

    kept = find_fewest(NAMES, meets)
    assert kept is not None
    assert meets(kept)
    for name in kept:
        assert kept - {name} in asked, "not even looked at"
        assert not meets(kept - {name})


def test_one_pass_is_not_enough_where_two_layers_only_go_together() -> None:
    """The sixth can go once the second has gone: accuracy is not monotone."""

    def meets(kept: Kept) -> bool:
        return "layer0" in kept and ("layer1" not in kept or "layer5" in kept) and len(kept) in (1, 5, 6, 8, 11)

    kept = find_fewest(NAMES, meets)
    assert kept is not None
    assert not any(meets(kept - {name}) for name in kept)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9])
def test_the_frontier_is_measured_whatever_comes_out(count: int) -> None:
    for answer in (True, False):
        asked: set[Kept] = set()
        find_fewest(NAMES[:count], _recording(asked, answer))
        assert {frozenset(), frozenset(NAMES[:count])} <= asked
        assert {len(kept) for kept in asked} >= {size for size in (0, 1, 2, 4, 8, count) if size <= count}


def _recording(asked: set[Kept], answer: bool) -> Callable[[Kept], bool]:
    def meets(kept: Kept) -> bool:
        asked.add(kept)
        return answer

    return meets


@given(st.integers(1, 5), st.data())
def test_no_set_that_is_found_can_lose_a_layer_whatever_meets_the_budget(count: int, data: st.DataObject) -> None:
    """Any sets may meet it, also such that a larger one does not."""
    names = NAMES[:count]
    sets = [frozenset(some) for size in range(count + 1) for some in itertools.combinations(names, size)]
    good = data.draw(st.sets(st.sampled_from(sets)))
    kept = find_fewest(names, lambda kept: kept in good)
    if kept is not None:
        assert kept in good
        assert len(kept) < count
        assert not any(kept - {name} in good for name in kept)
    elif frozenset(names) in good:
        assert not any(frozenset(names) - {name} in good for name in names), "only all layers would do"
    else:
        assert frozenset() not in good


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 60))
def test_where_errors_add_up_a_set_is_found_if_there_is_one(errors: list[int], budget: int) -> None:
    costs = Costs({name: float(error) for name, error in zip(NAMES, errors, strict=False)}, budget)
    names = sorted(costs.errors, key=lambda name: -costs.errors[name])
    kept = find_fewest(names, costs.meets)
    possible = [
        len(some)
        for size in range(len(names))
        for some in itertools.combinations(names, size)
        if costs.meets(frozenset(some))
    ]
    assert (kept is None) == (not possible)
    assert kept is None or len(kept) == min(possible)
