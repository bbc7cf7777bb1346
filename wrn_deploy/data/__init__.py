"""Defines a source of labelled images, and opens one by name or path; no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.regular import open_regular
from wrn_deploy.plugins import load_plugin, near_names, plugin_names

__all__ = ["CorruptImage", "ImageSource", "Item", "Role", "check_label", "open_data"]

FORMATS = "wrn_deploy.data.formats"
LAST_LABEL = 2**31 - 1


class Role(StrEnum):
    """The purpose of the images; a data set with two splits opens that of the role."""

    TRAIN = "train"
    TEST = "test"


class CorruptImage(DamagedFile):
    """One image of a source cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image, decoded only by a call of `load`.

    `load` returns RGB, uint8, HWC, and raises CorruptImage. `label` is the class index, or None.
    """

    name: str
    label: int | None
    load: Callable[[], npt.NDArray[np.uint8]]


def check_label(label: int, where: str) -> int:
    """Returns `label` if it can be a class index; `where` names its image in the error.

    Raises:
        DeployError: it is negative or greater than 2^31 - 1.
    """
    if not 0 <= label <= LAST_LABEL:
        raise DeployError(
            f"{where} has label {label}: expected a class index from 0 to {LAST_LABEL}; leave unlabelled images out, "
            "or give the whole set without labels"
        )
    return label


class ImageSource(Protocol):
    """A set of images that can be read any number of times.

    `labels` are the names of the classes (empty: unknown); `mirror`: a mirrored image keeps its class.
    """

    name: str
    labels: tuple[str, ...]
    mirror: bool

    def __len__(self) -> int:
        """The number of images."""

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """Yields all images in the source's own order, or in a random one, drawn from `order` before the first."""


def open_data(name: str, role: Role) -> ImageSource:
    """Opens a data set by its name, or the file or folder at that path, recognised by its content.

    A format is a file in `wrn_deploy/data/formats` with `recognise(path) -> bool` and
    `open_source(name, role) -> ImageSource`, and `NAMES` if it has data sets with a name. `folder` is asked last,
    since other formats are folders too. A path with `{` in it may stand for several files.

    Raises:
        DeployError: the data does not exist, its format is unknown, or it is unreadable or empty.

    Example:
        >>> source = open_data("digits", Role.TEST)
        >>> len(source), next(source.items()).load().shape
        (359, (32, 32, 3))
    """
    formats = [load_plugin(FORMATS, file) for file in sorted(plugin_names(FORMATS), key="folder".__eq__)]
    path = Path(name)
    if path.exists() and not path.is_dir() and not path.is_file():
        open_regular(path)  # says what else it is
    for format_ in formats:
        if name in _names(format_) or ((path.exists() or "{" in name) and _is_recognised(path, format_)):
            source: ImageSource = format_.open_source(name, role)
            if len(source) == 0:
                raise DeployError(f"{name} holds no images: expected at least one")
            return source
    known_names = [known for format_ in formats for known in _names(format_)]
    if not path.exists():
        raise DeployError(
            f"no data at {name!r}{near_names(name, known_names)}: expected a path, or one of the names "
            f"{', '.join(known_names)}"
        )
    raise DeployError(
        f"{name} is not a readable data set: expected an image folder (class subfolders or a labels file), an "
        ".npz with `images` and `labels`, a parquet file with `img` and `label`, WebDataset's .tar shards, or a folder "
        "of CIFAR-10/100, SVHN or MNIST"
    )


def _names(format_: ModuleType) -> tuple[str, ...]:
    return getattr(format_, "NAMES", ())


def _is_recognised(path: Path, format_: ModuleType) -> bool:
    with contextlib.suppress(OSError, DamagedFile):
        return bool(format_.recognise(path))
    return False
