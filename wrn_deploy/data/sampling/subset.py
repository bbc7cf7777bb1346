"""A part of a source, chosen by the names of its images; nothing that is left out is decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item

__all__ = ["Subset"]


class Subset:
    """The images of a source that have these names, or with `keep` off all others; `count` says how many they are."""

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
        """Those images, in the source's order or in a random one."""
        return (item for item in self._source.items(order) if (item.name in self._names) is self._keep)
