"""The one class of image source, and how it reads images: from front to back, or by index; numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from wrn_deploy.data import ImageSource, Item, OpenedSource
from wrn_deploy.data.sampling.shuffle import interleave, shuffled
from wrn_deploy.progress import Progress

__all__ = ["LazySource", "StreamPart", "indexed_source", "items_from", "report_notes", "stream_source"]

BUFFER_BYTES = 64 * 2**20  # of a shuffle buffer


@dataclass(slots=True, kw_only=True)
class LazySource:
    """An ImageSource of `count` images; `read` yields them in their own order, or in one drawn from a generator.

    `read_from` yields those from a number on, in their own order, without reading the others; None: it cannot skip.
    """

    name: str
    count: int
    read: Callable[[np.random.Generator | None], Iterator[Item]]
    read_from: Callable[[int], Iterator[Item]] | None = None
    labels: tuple[str, ...] = ()
    mirror: bool = True
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of images."""
        return self.count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """Yields all images."""
        return self.read(order)


def items_from(source: ImageSource, first: int) -> Iterator[Item]:
    """Yields the images from number `first` on, in the source's own order; reads those before it only if it must."""
    if isinstance(source, LazySource) and source.read_from is not None:
        return source.read_from(first)
    return islice(source.items(), first, None)


@dataclass(frozen=True, slots=True)
class StreamPart:
    """A file or a row group: the number of its images, the bytes of all of them, and how to read them in order."""

    images: int
    size_bytes: int
    read: Callable[[], Iterator[Item]]


def stream_source(
    name: str,
    parts: Sequence[StreamPart],
    *,
    labels: tuple[str, ...] = (),
    mirror: bool = True,
    mix: bool = False,
    notes: tuple[str, ...] = (),
) -> LazySource:
    """Returns a source that is read from front to back.

    A random order shuffles the parts, or interleaves them if `mix`, and then the images within a shuffle buffer.
    """
    count = sum(part.images for part in parts)

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        if order is None:
            return chain.from_iterable(part.read() for part in parts)
        if mix:
            stream = interleave([(part.images, part.read()) for part in parts], order)
        else:
            indices = order.permutation(len(parts))
            stream = chain.from_iterable(parts[index].read() for index in indices)
        image_bytes = sum(part.size_bytes for part in parts) // max(1, count)
        return shuffled(stream, order, max(2, BUFFER_BYTES // max(1, image_bytes)))

    def read_from(first: int) -> Iterator[Item]:
        for part in parts:
            if first < part.images:
                yield from islice(part.read(), first, None)
            first = max(0, first - part.images)

    return LazySource(name=name, count=count, read=read, read_from=read_from, labels=labels, mirror=mirror, notes=notes)


def indexed_source(
    name: str,
    count: int,
    item: Callable[[int], Item],
    *,
    labels: tuple[str, ...] = (),
    mirror: bool = True,
    notes: tuple[str, ...] = (),
) -> LazySource:
    """Returns a source of images that `item` finds by their index; a random order is uniform."""

    def read(order: np.random.Generator | None) -> Iterator[Item]:
        return map(item, range(count) if order is None else order.permutation(count))

    def read_from(first: int) -> Iterator[Item]:
        return map(item, range(first, count))

    return LazySource(name=name, count=count, read=read, read_from=read_from, labels=labels, mirror=mirror, notes=notes)


def report_notes(source: OpenedSource, progress: Progress) -> None:
    """Warns of what was left out or chosen when the source was opened."""
    for note in source.notes:
        progress.warn(note)
