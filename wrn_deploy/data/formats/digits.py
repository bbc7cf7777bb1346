"""scikit-learn's 1,797 handwritten digits, which come with the package: real data, no download."""

from __future__ import annotations

from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.sources import indexed_source
from wrn_deploy.data.splits import choose_role

__all__ = ["NAMES", "open_source", "recognise"]

NAMES = ("digits",)

SIDE = 32  # the size of CIFAR's images, for which the small networks are made


def recognise(_path: Path) -> bool:
    """Recognises nothing: the digits have a name, not a path."""
    return False


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens a fixed split: every fifth image (index % 5 == 4) is for tests, the rest for training.

    Digits are never mirrored: a mirrored 2 is not a 2.

    Raises:
        DeployError: the split is neither train nor test.
    """
    role = choose_role(role, split, name)
    with resources.files("wrn_deploy.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        values, classes = arrays["images"], arrays["labels"]
    is_test = np.arange(len(classes)) % 5 == 4
    indices = np.flatnonzero(is_test == (role is Role.TEST))

    def item(place: int) -> Item:
        index = indices[place]
        return Item(f"digit {index}", int(classes[index]), partial(_enlarge, values[index]))

    return indexed_source(name, len(indices), item, labels=tuple("0123456789"), mirror=False)


def _enlarge(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Enlarges 8x8 values of 0..16 to 32x32 RGB of 0..255, bicubic."""
    gray = np.rint(values * (255.0 / 16.0)).astype(np.uint8)
    image = Image.fromarray(gray).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
