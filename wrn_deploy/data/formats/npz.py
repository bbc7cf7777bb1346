"""An .npz with `images` and `labels`, read as a stream: a set of any size takes the memory of one image; numpy only."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import name_damage
from wrn_deploy.files.regular import open_regular

__all__ = ["open_source", "recognise"]

EXPECTED = "expected `images`, uint8 (N, H, W, 3) or (N, H, W), and, if they are known, `labels`, whole numbers (N,)"

DIRECTORY_BYTES = 16 * 2**20  # zipfile makes an object for each entry of the archive's list of members
HEADER_BYTES = 10_000  # numpy's own limit on the description of an array, which it checks when it has read it


def recognise(path: Path) -> bool:
    """Recognises a zip file whose first member is an array; a truncated one too."""
    with open_regular(path) as file:
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
    with name_damage(path, ".npz"), _open_archive(path) as archive:
        keys = [member.removesuffix(".npy") for member in archive.namelist()]
        if "images" not in keys:
            raise DeployError(f"{path} holds {', '.join(keys)}: {EXPECTED}; rename its arrays and save it again")
        shape, column_major, dtype = _read_header(archive, "images.npy")
        is_colour = len(shape) == 4 and shape[3] == 3
        if dtype != np.uint8 or not (len(shape) == 3 or is_colour) or 0 in shape[1:]:
            raise DeployError(f"{path} has `images` of {dtype} {shape}: {EXPECTED}")
        if column_major:
            raise DeployError(f"{path} has `images` in Fortran order: expected C order; use np.ascontiguousarray")
        budget().check("members", shape[0], path)
        budget().check("pixels", math.prod(shape[1:3]), f"one image of {path}")
        classes = _read_labels(archive, path, shape[0]) if "labels" in keys else None
    part = StreamPart(shape[0], math.prod(shape), partial(_items, path, shape, classes))
    return stream_source(name, [part], mirror=is_colour)


def _items(path: Path, shape: tuple[int, ...], classes: npt.NDArray[np.int64] | None) -> Iterator[Item]:
    size = math.prod(shape[1:])
    with name_damage(path, ".npz"), _open_archive(path) as archive, archive.open("images.npy") as member:
        _skip_header(member)
        for index in range(shape[0]):
            pixels = member.read(size)
            if len(pixels) < size:
                raise EOFError(f"it ends in image {index} of {shape[0]}")
            label = None if classes is None else int(classes[index])
            yield Item(f"{path.name} image {index}", label, partial(_to_rgb, pixels, shape[1:]))


def _read_labels(archive: zipfile.ZipFile, path: Path, count: int) -> npt.NDArray[np.int64]:
    shape, _, dtype = _read_header(archive, "labels.npy")
    if dtype.kind not in "iu" or len(shape) != 1:
        raise DeployError(f"{path} has `labels` of {dtype} {shape}: {EXPECTED}")
    if shape[0] != count:
        raise DeployError(f"{path} has {count} images and {shape[0]} labels: expected one label an image")
    if count * dtype.itemsize > archive.getinfo("labels.npy").file_size:
        raise EOFError(f"it ends in its {count:,} labels")
    budget().check("memory_bytes", count * dtype.itemsize, path)
    with archive.open("labels.npy") as member:
        labels: npt.NDArray[np.integer] = npy_format.read_array(member, allow_pickle=False)
    for index in (labels.argmin(), labels.argmax()) if count else ():
        check_label(int(labels[index]), f"{path} image {index}")
    return labels.astype(np.int64)


@contextlib.contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens the zip file; its members are inflated only as far as the budget allows."""
    with open_regular(path) as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001 (read before it is believed)
        if end and end[zipfile._ECD_SIZE] > DIRECTORY_BYTES:  # type: ignore[attr-defined]  # noqa: SLF001
            raise ValueError("a list of members of more than 16 MiB")
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                budget().check_ratio(info.file_size, min(info.compress_size, os.fstat(file.fileno()).st_size), path)
            yield archive


def _read_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Returns the shape of an array in the archive, whether it is in Fortran order, and its type."""
    with archive.open(name) as member:
        shape, column_major, dtype = _skip_header(member)
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} of {dtype} {shape}")
    return shape, column_major, dtype


def _skip_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy_format.read_magic(member)
    if version == (1, 0):
        return npy_format.read_array_header_1_0(member)
    length = int.from_bytes(cast("zipfile.ZipExtFile", member).peek(4)[:4], "little")
    if length > HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    return npy_format.read_array_header_2_0(member)


def _to_rgb(pixels: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    image = np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    return image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)
