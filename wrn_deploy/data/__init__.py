"""Labelled images from a name or a path, streamed: what a source of images is, and how one is opened; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.plugins import load_plugin, near_names, plugin_names

__all__ = ["CorruptImage", "ImageSource", "Item", "Role", "open_data"]

FORMATS = "wrn_deploy.data.formats"


class Role(StrEnum):
    """What the images are for: a source that has two splits gives the one that fits."""

    TRAIN = "train"
    TEST = "test"


class CorruptImage(DamagedFile):
    """One image of a source cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image, decoded only when asked for.

    `load` returns RGB, uint8, HWC, and raises CorruptImage. `label` is the class index, None where there is none.
    """

    name: str
    label: int | None
    load: Callable[[], npt.NDArray[np.uint8]]


class ImageSource(Protocol):
    """A set of images that can be gone through again and again, in constant memory.

    `labels` names the classes (empty: unknown); `mirror` says whether a mirrored image keeps its class.
    """

    name: str
    labels: tuple[str, ...]
    mirror: bool

    def __len__(self) -> int:
        """The number of images."""

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images, in the source's own order, or in a random one, drawn from `order` before the first comes."""


def open_data(name: str, role: Role) -> ImageSource:
    """Opens the data set that `name` names, or the file or folder at that path, recognised by its content.

    A format is a file in `wrn_deploy/data/formats` with `NAMES` (data sets known by name),
    `recognise(path) -> bool` and `open_source(name, role) -> ImageSource`. `folder` is asked last: other formats are
    folders too. A path with `{` in it may stand for several files.

    Raises:
        DeployError: there is no such data, or it is of no known format, unreadable or empty.
    """
    names = sorted(plugin_names(FORMATS), key=lambda format_name: (format_name == "folder", format_name))
    formats = [load_plugin(FORMATS, format_name) for format_name in names]
    path = Path(name)
    for format_ in formats:
        if name in format_.NAMES or ((path.exists() or "{" in name) and format_.recognise(path)):
            source: ImageSource = format_.open_source(name, role)
            if len(source) == 0:
                raise DeployError(f"{name} holds no images: expected at least one")
            return source
    known_names = [known for format_ in formats for known in format_.NAMES]
    if not path.exists():
        raise DeployError(
            f"no data at {name!r}{near_names(name, known_names)}: expected a path, or one of the names "
            f"{', '.join(known_names)}"
        )
    raise DeployError(
        f"{name} is no data set that can be read: expected an image folder (class subfolders or a labels file), an "
        ".npz with `images` and `labels`, a parquet file with `img` and `label`, WebDataset's .tar shards, or a folder "
        "of CIFAR-10/100, SVHN or MNIST"
    )
