"""Some of a source's images, as a source: evenly spaced, adjacent, or with given names; only those are decoded."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item
from wrn_deploy.data.sources import LazySource, items_from

__all__ = ["adjacent", "even_sample", "subset"]


def even_sample(source: ImageSource, count: int, places: range | None = None) -> LazySource:
    """Returns `count` images at even distances, the same in every pass: all classes, if the source is sorted by class.

    Its items come in the source's order; it has no random one, since other images would then be chosen.

    Args:
        source: all images.
        count: how many to choose; all if there are fewer.
        places: only the chosen images at these adjacent places among the chosen; None: all. What lies before and after
            them in the source is not read if the source can skip it.
    """
    total, count = len(source), min(count, len(source))
    wanted = range(count) if places is None else places

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        assert order is None, "an even sample has one order"
        first, last = (-(-place * total // count) for place in (wanted[0], wanted[-1]))
        for index, item in enumerate(itertools.islice(items_from(source, first), last - first + 1), first):
            if index * count // total != (index - 1) * count // total:
                yield item

    return LazySource(name=source.name, count=len(wanted), read=read, labels=source.labels, mirror=source.mirror)


def adjacent(source: ImageSource, places: range) -> LazySource:
    """Returns the images at these adjacent places, in the source's own order."""

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        assert order is None, "a part of a source has one order"
        return itertools.islice(items_from(source, places.start), len(places))

    return LazySource(name=source.name, count=len(places), read=read, labels=source.labels, mirror=source.mirror)


def subset(source: ImageSource, names: Collection[str], count: int, *, keep: bool) -> LazySource:
    """Returns the images with the given names, or without `keep` all others; `count` is their number."""
    chosen = frozenset(names)

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        return (item for item in source.items(order) if (item.name in chosen) is keep)

    return LazySource(name=source.name, count=count, read=read, labels=source.labels, mirror=source.mirror)
