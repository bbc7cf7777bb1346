"""Defines a source of labelled images, and opens one by name or path; no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wrn_deploy.data.containers.listing import LINK_REMEDY, is_inside
from wrn_deploy.data.foreign import HEAD_BYTES, describe_foreign
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.regular import open_regular
from wrn_deploy.plugins import load_plugin, near_names, plugin_names

__all__ = [
    "LAST_LABEL", "CorruptImage", "FileSet", "ImageSource", "Item", "OpenedSource", "Role", "check_label", "find_files",
    "open_data", "open_file",
]  # fmt: skip

FORMATS = "wrn_deploy.data.formats"
LAST_LABEL = 2**31 - 1
INSPECTED = 5  # files of a folder


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
            f"{where} has label {label}: expected a class index from 0 to {LAST_LABEL}; remove unlabelled images, "
            "or use the set without labels"
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


class OpenedSource(ImageSource, Protocol):
    """A source as `open_data` gives it; `notes` say what was left out or chosen, and belong into a warning."""

    notes: tuple[str, ...]


def open_data(name: str, role: Role) -> OpenedSource:
    """Opens a data set by its name, or the file or folder at that path, recognised by its content.

    A format is a file in `wrn_deploy/data/formats` with `recognise(path) -> bool` and
    `open_source(name, role, split) -> ImageSource`, `NAMES` if it has data sets with a name, `PLACES` if other programs
    put its folders below the one that they are given, and `shard_files(path, role, split)` if it reads files that can
    each be opened alone. `folder` is asked last, since other formats are folders too. A path with `{` in it may stand
    for several files. A name ends in `:SPLIT` to read another split than that of the role.

    Raises:
        DeployError: the data does not exist, its format is unknown, or it is unreadable or empty.

    Example:
        >>> source = open_data("digits", Role.TEST)
        >>> len(source), next(source.items()).load().shape
        (359, (32, 32, 3))
    """
    format_, place, split = _find_format(name)
    source: OpenedSource = format_.open_source(place, role, split)
    if len(source) == 0:
        left_out = f"; {'; '.join(source.notes)}" if source.notes else ""
        raise DeployError(f"{name} contains no images: expected at least one{left_out}")
    source.name = name
    return source


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The files of a data set that can each be opened alone, in order; `notes` say what was left out or chosen."""

    format: str
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def find_files(name: str, role: Role) -> FileSet | None:
    """The files of a data set, none of which is read; None: its images are in no such files.

    Raises:
        DeployError: as `open_data`.
    """
    format_, place, split = _find_format(name)
    if not hasattr(format_, "shard_files"):
        return None
    files, notes = format_.shard_files(Path(place), role, split)
    return FileSet(format=format_.__name__.rpartition(".")[2], files=tuple(files), notes=notes)


def open_file(file: Path, format_name: str) -> OpenedSource:
    """Opens one file of a `FileSet`; it may have no images.

    Raises:
        DamagedFile: it is damaged.
        DeployError: it does not have what the format needs.
    """
    source: OpenedSource = load_plugin(FORMATS, format_name).open_source(str(file), Role.TEST, None)
    return source


def _find_format(name: str) -> tuple[ModuleType, str, str | None]:
    """The format of a data set, its place and its split; raises as `open_data`."""
    formats = [load_plugin(FORMATS, file) for file in sorted(plugin_names(FORMATS), key="folder".__eq__)]
    known_names = [known for format_ in formats for known in _names(format_)]
    place, split = _parse(name, known_names)
    if _exists(place) and not Path(place).is_dir():
        open_regular(place).close()  # or says that it is a FIFO or a device
    place = _place_inside(place, formats)
    if _exists(place) and not Path(place).is_dir() and not Path(place).is_file():
        open_regular(place)  # says what else it is
    for format_ in formats:
        if place in _names(format_) or ((_exists(place) or "{" in place) and _is_recognised(place, format_)):
            return format_, place, split
    if not _exists(place):
        raise DeployError(
            f"no data at {name!r}{near_names(name, known_names)}: expected a path, or a built-in data set: "
            f"{', '.join(known_names)}"
        )
    raise DeployError(
        f"{name} is not a readable data set{_describe(Path(place))}: expected an image folder (class subfolders or a "
        "labels file), an .npz with `images` and `labels`, a parquet file with `img` and `label`, WebDataset's .tar "
        "shards, or a folder of CIFAR-10/100, CIFAR-10-C, SVHN or MNIST"
    )


def _parse(name: str, known_names: Sequence[str]) -> tuple[str, str | None]:
    """Divides PATH:SPLIT, unless there is something at a path with that colon."""
    place, colon, split = name.rpartition(":")
    if not colon or not split or _exists(name):
        return name, None
    return (place, split) if place in known_names or _exists(place) or "{" in place else (name, None)


def _place_inside(place: str, formats: Sequence[ModuleType]) -> str:
    """The folder below `place` where another program keeps the data set of which it is given the folder above.

    Raises:
        DeployError: there are several.
    """
    below = [(f"{place}/{known}", format_) for format_ in formats for known in getattr(format_, "PLACES", ())]
    found = [path for path, format_ in below if _exists(path) and _is_recognised(path, format_)]
    if len(found) > 1:
        raise DeployError(f"{place} contains {len(found)} data sets: expected one; give {' or '.join(found)}")
    return found[0] if found else place


def _describe(path: Path) -> str:
    """What a file is that no format recognises, or the first files of a folder; empty if that is not known."""
    files = sorted(file for file in path.iterdir() if file.name[0] != ".") if path.is_dir() else [path]
    for file in files[:INSPECTED]:
        if file != path and not is_inside(file, path):
            return f" ({file.name} leads out of it through a link: {LINK_REMEDY})"
        with contextlib.suppress(OSError, DamagedFile), open_regular(file) as stream:
            if found := describe_foreign(stream.read(HEAD_BYTES)):
                return f" ({found})" if file == path else f" ({file.name} is {found})"
    return ""


def _exists(place: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        return Path(place).exists()
    return False


def _names(format_: ModuleType) -> tuple[str, ...]:
    return getattr(format_, "NAMES", ())


def _is_recognised(place: str, format_: ModuleType) -> bool:
    with contextlib.suppress(OSError, DamagedFile):
        return bool(format_.recognise(Path(place)))
    return False
