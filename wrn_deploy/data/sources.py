"""The image sources that formats return: read from front to back, or by index; numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from wrn_deploy.data import Item
from wrn_deploy.data.sampling.shuffle import interleave, shuffled

__all__ = ["IndexedSource", "StreamPart", "StreamSource"]

BUFFER_BYTES = 64 * 2**20  # of a shuffle buffer


@dataclass(frozen=True, slots=True)
class StreamPart:
    """A file or a row group: the number of its images, the bytes of all of them, and how to read them in order."""

    images: int
    size_bytes: int
    read: Callable[[], Iterator[Item]]


@dataclass(slots=True, kw_only=True)
class StreamSource:
    """An ImageSource that is read from front to back; `mix`: a random order interleaves its parts."""

    name: str
    parts: Sequence[StreamPart]
    labels: tuple[str, ...] = ()
    mirror: bool = True
    mix: bool = False

    def __len__(self) -> int:
        """The number of images."""
        return sum(part.images for part in self.parts)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images in the order of the parts, or of shuffled parts and then a shuffle buffer."""
        if order is None:
            return chain.from_iterable(part.read() for part in self.parts)
        if self.mix:
            stream = interleave([(part.images, part.read()) for part in self.parts], order)
        else:
            indices = order.permutation(len(self.parts))
            stream = chain.from_iterable(self.parts[index].read() for index in indices)
        image_bytes = sum(part.size_bytes for part in self.parts) // max(1, len(self))
        return shuffled(stream, order, max(2, BUFFER_BYTES // max(1, image_bytes)))


@dataclass(slots=True, kw_only=True)
class IndexedSource:
    """An ImageSource of `count` images, each found by its index; a random order is uniform."""

    name: str
    count: int
    item: Callable[[int], Item]
    labels: tuple[str, ...] = ()
    mirror: bool = True

    def __len__(self) -> int:
        """The number of images."""
        return self.count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images by their index, or in a random order."""
        return map(self.item, range(self.count) if order is None else order.permutation(self.count))
