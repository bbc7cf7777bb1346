"""An .npz with `images` and `labels`, read as a stream: a set of any size takes the memory of one image; numpy only."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.containers import name_damage
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.errors import DeployError

__all__ = ["open_source", "recognise"]

EXPECTED = "expected `images`, uint8 (N, H, W, 3) or (N, H, W), and, if they are known, `labels`, whole numbers (N,)"

# What zipfile, zlib and numpy raise for a file that is truncated, damaged or protected by a password.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


def recognise(path: Path) -> bool:
    """Recognises a zip file whose first member is an array; a truncated one too."""
    with path.open("rb") as file:
        head = file.read(30)
        name = file.read(int.from_bytes(head[26:28], "little"))
    return head.startswith(b"PK\x03\x04") and name.endswith(b".npy")


def open_source(name: str, _role: Role) -> ImageSource:
    """Opens an .npz, which is one split whatever the role; only the labels are read, and nothing is unpickled.

    Grey images are not mirrored, since they are mostly digits and letters.

    Raises:
        DeployError: it is damaged, or `images` or `labels` is missing or not as expected.
    """
    path = Path(name)
    with name_damage(path, ".npz", DAMAGED), zipfile.ZipFile(path) as archive:
        keys = [member.removesuffix(".npy") for member in archive.namelist()]
        if "images" not in keys:
            raise DeployError(f"{path} holds {', '.join(keys)}: {EXPECTED}; rename its arrays and save it again")
        with archive.open("images.npy") as member:
            shape, column_major, dtype = _read_header(member)
        is_colour = len(shape) == 4 and shape[3] == 3
        if dtype != np.uint8 or not (len(shape) == 3 or is_colour) or 0 in shape[1:]:
            raise DeployError(f"{path} has `images` of {dtype} {shape}: {EXPECTED}")
        if column_major:
            raise DeployError(f"{path} has `images` in Fortran order: expected C order; use np.ascontiguousarray")
        classes = _read_labels(archive, path, shape[0]) if "labels" in keys else None
    part = StreamPart(shape[0], math.prod(shape), partial(_items, path, shape, classes))
    return stream_source(name, [part], mirror=is_colour)


def _items(path: Path, shape: tuple[int, ...], classes: npt.NDArray[np.int64] | None) -> Iterator[Item]:
    size = math.prod(shape[1:])
    with name_damage(path, ".npz", DAMAGED), zipfile.ZipFile(path) as archive, archive.open("images.npy") as member:
        _read_header(member)
        for index in range(shape[0]):
            pixels = member.read(size)
            if len(pixels) < size:
                raise EOFError(f"it ends in image {index} of {shape[0]}")
            label = None if classes is None else int(classes[index])
            yield Item(f"{path.name} image {index}", label, partial(_to_rgb, pixels, shape[1:]))


def _read_labels(archive: zipfile.ZipFile, path: Path, count: int) -> npt.NDArray[np.int64]:
    with archive.open("labels.npy") as member:
        shape, _, dtype = _read_header(member)
    if dtype.kind not in "iu" or len(shape) != 1:
        raise DeployError(f"{path} has `labels` of {dtype} {shape}: {EXPECTED}")
    if shape[0] != count:
        raise DeployError(f"{path} has {count} images and {shape[0]} labels: expected one label an image")
    with archive.open("labels.npy") as member:
        labels: npt.NDArray[np.integer] = npy_format.read_array(member, allow_pickle=False)
    for index in (labels.argmin(), labels.argmax()) if count else ():
        check_label(int(labels[index]), f"{path} image {index}")
    return labels.astype(np.int64)


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Returns the shape of the array that follows, whether it is in Fortran order, and its type."""
    version = npy_format.read_magic(member)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    return read(member)


def _to_rgb(pixels: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    image = np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    return image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)
