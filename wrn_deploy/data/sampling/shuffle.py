"""The shuffle buffer: a random order for data that can only be read from front to back; numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["buffer_capacity", "interleave", "shuffled"]

BUFFER_BYTES = 64 * 2**20

T = TypeVar("T")


def buffer_capacity(image_bytes: int) -> int:
    """How many images of about `image_bytes` a shuffle buffer holds: 64 MiB of them, and two at least."""
    return max(2, BUFFER_BYTES // max(1, image_bytes))


def shuffled(items: Iterable[T], order: np.random.Generator, capacity: int) -> Iterator[T]:
    """Gives `items` in a random order, and never holds more than `capacity` of them.

    Each item comes exactly once, and the same items with a generator in the same state come in the same order. An
    item comes at most `capacity` places early, but may come late without limit. The order is uniformly random if
    `capacity` items are all there are; beyond that, items far apart in the file stay roughly in the file's order,
    so a file that is sorted by class should be shuffled once when it is written. `order` gives one number, before the
    first item: how far ahead of their use the items are taken makes no difference to it.
    """
    order = np.random.default_rng(int(order.integers(2**63)))
    held: list[T] = []
    for item in items:
        if len(held) < capacity:
            held.append(item)
            continue
        chosen = int(order.integers(capacity))
        yield held[chosen]
        held[chosen] = item
    for index in order.permutation(len(held)):
        yield held[index]


def interleave(streams: Sequence[tuple[int, Iterator[T]]], order: np.random.Generator) -> Iterator[T]:
    """The items of several streams, each with its length, mixed as if all were shuffled together.

    The next one comes from a stream with a probability in proportion to what is left of it; each stream keeps its own
    order. `order` gives one number, before the first item.
    """
    order = np.random.default_rng(int(order.integers(2**63)))
    left = np.array([count for count, _ in streams])
    while total := int(left.sum()):
        chosen = int(np.searchsorted(np.cumsum(left), order.integers(total), side="right"))
        left[chosen] -= 1
        yield next(streams[chosen][1])
