"""Crops of random size and shape, scaled to the input's size while images are decoded; numpy and Pillow only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item

__all__ = ["CropSource", "crop_box"]

TRIES = 10
MIN_AREA = 0.08
SHAPES = (3 / 4, 4 / 3)


@dataclass(slots=True, kw_only=True)
class CropSource:
    """A source whose images are random crops of `height` x `width`; `random` draws a seed for each image."""

    source: ImageSource
    height: int
    width: int
    random: np.random.Generator
    name: str
    labels: tuple[str, ...]
    mirror: bool

    def __len__(self) -> int:
        """The number of images."""
        return len(self.source)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """The source's images in its order; decoding an image crops it."""
        size = (self.height, self.width)
        for item in self.source.items(order):
            yield Item(item.name, item.label, partial(_load, item.load, size, int(self.random.integers(2**62))))


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
