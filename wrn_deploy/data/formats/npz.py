"""An .npz of images and labels, as ours, Keras' and MedMNIST's are, read as a stream of single images; numpy only."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.containers.npy_header import check_array, read_npy_header
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.data.splits import SPLIT_WORDS, choose_split
from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import name_damage
from wrn_deploy.files.formats.zip_archive import directory_bytes
from wrn_deploy.files.regular import open_regular

__all__ = ["open_source", "recognise"]

EXPECTED = (
    "expected `images`, uint8 (N, H, W, 3) or (N, H, W), and, if they are known, `labels`, integers (N,); or both "
    "for each split, as `x_test` and `y_test` or `test_images` and `test_labels`"
)
KEYS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("X_{}", "y_{}"))  # MedMNIST's and Keras'

DIRECTORY_BYTES = 16 * 2**20  # zipfile makes an object for each entry of the archive's list of members


def recognise(path: Path) -> bool:
    """Recognises a zip file whose first member is an array; a truncated one too."""
    if path.is_dir():
        return False
    with open_regular(path) as file:
        head = file.read(30)
        name = file.read(int.from_bytes(head[26:28], "little"))
    return head.startswith(b"PK\x03\x04") and name.endswith(b".npy")


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens an .npz: its one split for any role, or that of the role; only the labels are read, nothing is unpickled.

    Grey images are not mirrored, since they are mostly digits and letters.

    Raises:
        DeployError: it is damaged, or an array is missing or not as expected.
    """
    path = Path(name)
    with name_damage(path, ".npz"), _open_archive(path) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        images, labels = _choose(names, role, split, path)
        with archive.open(f"{images}.npy") as member:
            shape, column_major, dtype = read_npy_header(member)
        _check_images(f"{path} has `{images}`", shape, dtype, column_major=column_major)
        budget().check("members", shape[0], path)
        budget().check("pixels", math.prod(shape[1:3]), f"one image of {path}")
        classes = _read_labels(archive, labels, path, shape[0]) if labels in names else None
    part = StreamPart(shape[0], math.prod(shape), partial(_items, path, images, shape, classes))
    return stream_source(name, [part], mirror=shape[3:] == (3,))


def _choose(names: list[str], role: Role, split: str | None, path: Path) -> tuple[str, str]:
    """Returns the names of the arrays of images and of labels."""
    if "images" in names and split is None:
        return "images", "labels"
    found = {
        word: (images.format(word), labels.format(word))
        for word in SPLIT_WORDS
        for images, labels in KEYS
        if images.format(word) in names
    }
    if not found:
        missing = "" if split is None else f"no split {split!r}, but "
        raise DeployError(
            f"{path} contains {missing}{', '.join(names)}: {EXPECTED}; rename its arrays and save it again"
        )
    return found[choose_split(found, role, split, str(path)).split]


def _check_images(what: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], *, column_major: bool) -> None:
    is_image = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if not is_image and len(shape) == 4 and shape[1] in (1, 3):
        raise DeployError(
            f"{what} of {dtype} {shape}, channels first: expected channels last; save array.transpose(0, 2, 3, 1)"
        )
    if dtype != np.uint8 or not is_image or 0 in shape[1:]:
        raise DeployError(f"{what} of {dtype} {shape}: {EXPECTED}")
    if column_major:
        raise DeployError(f"{what} in Fortran order: expected C order; use np.ascontiguousarray")


def _items(path: Path, key: str, shape: tuple[int, ...], classes: npt.NDArray[np.int64] | None) -> Iterator[Item]:
    size = math.prod(shape[1:])
    with name_damage(path, ".npz"), _open_archive(path) as archive, archive.open(f"{key}.npy") as member:
        read_npy_header(member)
        for index in range(shape[0]):
            pixels = member.read(size)
            if len(pixels) < size:
                raise EOFError(f"it ends in image {index} of {shape[0]}")
            label = None if classes is None else int(classes[index])
            yield Item(f"{path.name} image {index}", label, partial(_to_rgb, pixels, shape[1:]))


def _read_labels(archive: zipfile.ZipFile, key: str, path: Path, count: int) -> npt.NDArray[np.int64]:
    with archive.open(f"{key}.npy") as member:
        shape, _, dtype = read_npy_header(member)
    if len(shape) not in (1, 2) or dtype.kind not in ("iu" if shape[1:] in ((), (1,)) else "iufb"):
        raise DeployError(f"{path} has `{key}` of {dtype} {shape}: {EXPECTED}")
    if shape[0] != count:
        raise DeployError(f"{path} has {count} images and {shape[0]} labels: expected one label per image")
    check_array(shape, dtype, archive.getinfo(f"{key}.npy").file_size, path)
    with archive.open(f"{key}.npy") as member:
        labels: npt.NDArray[np.generic] = npy_format.read_array(member, allow_pickle=False)
    if shape[1:] not in ((), (1,)):
        labels = _from_one_hot(labels, f"{path} has `{key}`")
    labels = labels.reshape(count)
    for index in (labels.argmin(), labels.argmax()) if count else ():
        check_label(int(labels[index]), f"{path} image {index}")
    return labels.astype(np.int64)


def _from_one_hot(labels: npt.NDArray[np.generic], what: str) -> npt.NDArray[np.int64]:
    """Returns the places of the ones."""
    if not ((labels == 0) | (labels == 1)).all() or not ((labels == 1).sum(axis=1) == 1).all():
        raise DeployError(f"{what} of {labels.dtype} {labels.shape} that is not one-hot: {EXPECTED}")
    places: npt.NDArray[np.int64] = labels.argmax(axis=1)
    return places


@contextlib.contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens the zip file; its members are inflated only as far as the budget allows."""
    with open_regular(path) as file:
        if directory_bytes(file) > DIRECTORY_BYTES:
            raise ValueError("a list of members of more than 16 MiB")
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                budget().check_ratio(info.file_size, min(info.compress_size, os.fstat(file.fileno()).st_size), path)
            yield archive


def _to_rgb(pixels: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    image = np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    return image if shape[2:] == (3,) else np.repeat(image.reshape(*shape[:2], 1), 3, axis=2)
