"""Views of a source for training: a process's part of each batch, and crops of random size; numpy and Pillow only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item

if TYPE_CHECKING:  # decoding processes import this module, and need no torch
    from wrn_deploy.training.execution.processes import BatchShard

__all__ = ["CropSource", "ShardSource", "crop_box"]

TRIES = 10
MIN_AREA = 0.08
SHAPES = (3 / 4, 4 / 3)


class ShardSource:
    """A process's part of each batch of a source: it skips the other images without decoding them."""

    def __init__(self, source: ImageSource, shard: BatchShard, batch_size: int) -> None:
        self.name, self.labels, self.mirror = source.name, source.labels, source.mirror
        self._source, self._shard, self._batch_size = source, shard, batch_size

    def __len__(self) -> int:
        """The number of images of this process."""
        whole, rest = divmod(len(self._source), self._batch_size)
        own, last = (self._shard.of(count) for count in (self._batch_size, rest))
        return int(whole * (own.stop - own.start) + last.stop - last.start)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """This process's images, in the source's order."""
        items = self._source.items(order)
        while batch := list(itertools.islice(items, self._batch_size)):
            yield from batch[self._shard.of(len(batch))]


class CropSource:
    """A source whose images are random crops of `height` x `width`; `random` draws a seed for each image."""

    def __init__(self, source: ImageSource, height: int, width: int, random: np.random.Generator) -> None:
        self.name, self.labels, self.mirror = source.name, source.labels, source.mirror
        self._source, self._size, self._random = source, (height, width), random

    def __len__(self) -> int:
        """The number of images."""
        return len(self._source)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """The source's images in its order; decoding an image crops it."""
        for item in self._source.items(order):
            yield Item(item.name, item.label, partial(_load, item.load, self._size, int(self._random.integers(2**62))))


def crop_box(rows: int, columns: int, random: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a crop of 8 to 100 % of the area, sides 3:4 to 4:3; None if none was found.

    As RandomSizedCrop of fb.resnet.torch draws it (datasets/transforms.lua).
    """
    for _ in range(TRIES):
        area = random.uniform(MIN_AREA, 1.0) * rows * columns
        shape = random.uniform(*SHAPES)
        wide, high = round(math.sqrt(area) * shape), round(math.sqrt(area) / shape)
        if random.random() < 0.5:
            wide, high = high, wide
        if 0 < high <= rows and 0 < wide <= columns:
            top = int(random.integers(0, rows - high + 1))
            left = int(random.integers(0, columns - wide + 1))
            return left, top, left + wide, top + high
    return None


def _load(load: Callable[[], npt.NDArray[np.uint8]], size: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    from PIL import Image

    image = load()
    height, width = size
    rows, columns = image.shape[:2]
    box = crop_box(rows, columns, np.random.default_rng(seed)) or _centre(rows, columns, height / width)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized, dtype=np.uint8)


def _centre(rows: int, columns: int, shape: float) -> tuple[int, int, int, int]:
    """The largest box of that shape (height / width) in the centre."""
    wide = max(1, min(columns, round(rows / shape)))
    high = max(1, min(rows, round(columns * shape)))
    left, top = (columns - wide) // 2, (rows - high) // 2
    return left, top, left + wide, top + high
