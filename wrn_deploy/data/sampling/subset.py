"""Some of a source's images, as a source: evenly spaced ones, or those with given names; only those are decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item
from wrn_deploy.data.sources import LazySource

__all__ = ["even_sample", "subset"]


def even_sample(source: ImageSource, count: int) -> LazySource:
    """Returns `count` images at even distances, the same in every pass: all classes, if the source is sorted by class.

    Its items come in the source's order; it has no random one, since other images would then be chosen.
    """
    total, count = len(source), min(count, len(source))

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        assert order is None, "an even sample has one order"
        for index, item in enumerate(source.items()):
            if index * count // total != (index - 1) * count // total:
                yield item

    return LazySource(name=source.name, count=count, read=read, labels=source.labels, mirror=source.mirror)


def subset(source: ImageSource, names: Collection[str], count: int, *, keep: bool) -> LazySource:
    """Returns the images with the given names, or without `keep` all others; `count` is their number."""
    chosen = frozenset(names)

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        return (item for item in source.items(order) if (item.name in chosen) is keep)

    return LazySource(name=source.name, count=count, read=read, labels=source.labels, mirror=source.mirror)
