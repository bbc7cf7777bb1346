"""Which images of each batch a process takes, so that all together take each one once; no torch import."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wrn_deploy.data import ImageSource, Item

__all__ = ["Shard", "ShardSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Process `rank` of `size`, counted from 0. Its parts of a batch are contiguous and differ by one image at most."""

    rank: int = 0
    size: int = 1

    def of(self, count: int) -> slice:
        """The slice of a batch of `count` images that belongs to this process."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)


@dataclass(slots=True, kw_only=True)
class ShardSource:
    """A process's part of each batch of a source: it skips the other images without decoding them."""

    source: ImageSource
    shard: Shard
    batch_size: int
    name: str
    labels: tuple[str, ...]
    mirror: bool

    def __len__(self) -> int:
        """The number of images of this process."""
        whole, rest = divmod(len(self.source), self.batch_size)
        sizes = [self.shard.of(self.batch_size), self.shard.of(rest)]
        own, last = (int(part.stop) - int(part.start) for part in sizes)
        return whole * own + last

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """This process's images, in the source's order."""
        items = self.source.items(order)
        for first in range(0, len(self.source), self.batch_size):
            batch = list(itertools.islice(items, min(self.batch_size, len(self.source) - first)))
            yield from batch[self.shard.of(len(batch))]
