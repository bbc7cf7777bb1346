"""The shuffle buffer: a random order for data that can only be read from front to back; numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["interleave", "shuffled"]

T = TypeVar("T")


def shuffled(items: Iterable[T], order: np.random.Generator, capacity: int) -> Iterator[T]:
    """Yields `items` in a random order, and never holds more than `capacity` of them.

    Each item comes exactly once, and equal states of the generator give equal orders. An item comes at most `capacity`
    places early, but may come late without limit. The order is uniformly random for up to `capacity` items; of more,
    items far apart in the file stay roughly in the file's order, so a file that is sorted by class should be shuffled
    once when it is written. One number is drawn from `order`, before the first item: reading ahead does not change what
    the caller draws from it later.
    """
    order = np.random.default_rng(int(order.integers(2**63)))
    buffer: list[T] = []
    for item in items:
        if len(buffer) < capacity:
            buffer.append(item)
            continue
        chosen = int(order.integers(capacity))
        yield buffer[chosen]
        buffer[chosen] = item
    for index in order.permutation(len(buffer)):
        yield buffer[index]


def interleave(streams: Sequence[tuple[int, Iterator[T]]], order: np.random.Generator) -> Iterator[T]:
    """Mixes streams, each given with its length, as if all their items were shuffled together.

    The probability that a stream gives the next item is proportional to the number of items left in it; each stream
    keeps its own order. One number is drawn from `order`, before the first item.
    """
    order = np.random.default_rng(int(order.integers(2**63)))
    left = np.array([count for count, _ in streams])
    while total := int(left.sum()):
        chosen = int(np.searchsorted(np.cumsum(left), order.integers(total), side="right"))
        left[chosen] -= 1
        yield next(streams[chosen][1])
