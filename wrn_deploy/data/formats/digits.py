"""scikit-learn's 1,797 handwritten digits, which come with the package: real data, no download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wrn_deploy.data import ImageSource, Item, Role

__all__ = ["NAMES", "DigitSource", "open_source", "recognise"]

NAMES: tuple[str, ...] = ("digits",)

SIDE = 32  # the size of CIFAR's images, for which the small networks are made


@dataclass(slots=True)
class DigitSource:
    """One split of the digits: `values` uint8 (N, 8, 8) from 0 to 16; never mirrored: a mirrored 2 is not a 2."""

    name: str
    values: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    indices: npt.NDArray[np.intp]
    labels: tuple[str, ...] = tuple("0123456789")
    mirror: bool = False

    def __len__(self) -> int:
        """The number of images."""
        return len(self.indices)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images in scikit-learn's order, or in a uniformly random one."""
        for index in self.indices if order is None else order.permutation(self.indices):
            yield Item(f"digit {index}", int(self.classes[index]), partial(_enlarge, self.values[index]))


def recognise(path: Path) -> bool:
    """The digits have a name, not a path."""
    del path
    return False


def open_source(name: str, role: Role) -> ImageSource:
    """Opens a fixed split: every fifth image (index % 5 == 4) is for tests, the rest for training."""
    with resources.files("wrn_deploy.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        values, classes = arrays["images"], arrays["labels"]
    is_test = np.arange(len(classes)) % 5 == 4
    return DigitSource(name, values, classes, np.flatnonzero(is_test == (role is Role.TEST)))


def _enlarge(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """From 8x8 values of 0..16 to 32x32 RGB of 0..255, bicubic."""
    gray = np.rint(values * (255.0 / 16.0)).astype(np.uint8)
    image = Image.fromarray(gray).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
