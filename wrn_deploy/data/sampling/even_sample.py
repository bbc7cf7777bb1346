"""A few images of a source, spread evenly over all of it: the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item

__all__ = ["Spread"]


class Spread:
    """`count` images at even distances, so that a source sorted by class gives all classes; none is decoded in vain."""

    def __init__(self, source: ImageSource, count: int) -> None:
        self.name = source.name
        self.labels = source.labels
        self.mirror = source.mirror
        self._source = source
        self._count = min(count, len(source))

    def __len__(self) -> int:
        return self._count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """The chosen images, in the source's order; `order` would choose others and is not taken."""
        assert order is None, "a Spread has one order"
        total = len(self._source)
        for index, item in enumerate(self._source.items()):
            if index * self._count // total != (index - 1) * self._count // total:
                yield item
