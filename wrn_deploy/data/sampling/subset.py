"""Some of a source's images, as a source: evenly spaced ones, or those with given names; only those are decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item

__all__ = ["EvenSample", "Subset"]


class EvenSample:
    """`count` images at even distances, the same ones every time: of a source sorted by class, some of all classes."""

    def __init__(self, source: ImageSource, count: int) -> None:
        self.name = source.name
        self.labels = source.labels
        self.mirror = source.mirror
        self._source = source
        self._count = min(count, len(source))

    def __len__(self) -> int:
        return self._count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """The images in the source's order; `order` must be None, since other ones would then be chosen."""
        assert order is None, "an EvenSample has one order"
        total = len(self._source)
        for index, item in enumerate(self._source.items()):
            if index * self._count // total != (index - 1) * self._count // total:
                yield item


class Subset:
    """The images with the given names, or with `keep` off all others; `count` is their number."""

    def __init__(self, source: ImageSource, names: Collection[str], count: int, *, keep: bool) -> None:
        self.name = source.name
        self.labels = source.labels
        self.mirror = source.mirror
        self._source = source
        self._names = frozenset(names)
        self._count = count
        self._keep = keep

    def __len__(self) -> int:
        return self._count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """The images in the source's order, or in a random one."""
        return (item for item in self._source.items(order) if (item.name in self._names) is self._keep)
