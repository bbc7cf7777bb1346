"""SVHN's cropped digits as published on their site (.mat), in memory as a whole: 1.6 GB for `extra`; numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.containers.listing import check_inside
from wrn_deploy.data.containers.mat_file import is_mat_file, read_arrays
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.errors import DeployError

__all__ = ["open_source", "recognise"]

# ufldl.stanford.edu/housenumbers, "Format 2"; y is 1 to 9 for these digits, and 10 for the digit 0.
FILES = {Role.TRAIN: ("train_32x32.mat", "extra_32x32.mat"), Role.TEST: ("test_32x32.mat",)}
SPLITS = ("extra", "test", "train")
EXPECTED = "expected `X`, uint8 (32, 32, 3, N), and `y`, N integers from 1 to 10"


def recognise(path: Path) -> bool:
    """Recognises a MAT file, or a folder with one of the three files."""
    if path.is_dir():
        return any((path / file).is_file() for role in FILES for file in FILES[role])
    return is_mat_file(path)


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens one file, which is one split for any role, or the files of the role in a folder.

    In a folder, the training images are `train_32x32.mat` and, if it is there, `extra_32x32.mat`: the paper trains on
    both, and a random order mixes them. Digits are never mirrored: a mirrored 2 is not a 2.

    Raises:
        DeployError: a file is missing, damaged or too large for the memory, or has other arrays or labels.
    """
    path = Path(name)
    first, *more = _files(path, role, split) if path.is_dir() else [path]
    if split is not None and not path.is_dir():
        raise DeployError(f"{name} has no split {split!r}: expected none, since it is one file")
    if not first.is_file():
        raise DeployError(f"{path} lacks {first.name}: expected it there; download it, or give one of its files itself")
    files = [first, *(file for file in more if file.is_file())]
    if path.is_dir():
        check_inside(path, files)
    return stream_source(name, [_open(file) for file in files], labels=tuple("0123456789"), mirror=False, mix=True)


def _files(folder: Path, role: Role, split: str | None) -> list[Path]:
    if split is None:
        return [folder / file for file in FILES[role]]
    if split.lower() not in SPLITS:
        raise DeployError(f"{folder} has no split {split!r}: expected one of {', '.join(SPLITS)}")
    return [folder / f"{split.lower()}_32x32.mat"]


def _open(path: Path) -> StreamPart:
    arrays = read_arrays(path)
    if not {"X", "y"} <= arrays.keys():
        raise DeployError(f"{path} contains {', '.join(arrays) or 'nothing'}: {EXPECTED}")
    pixels, labels = arrays["X"], arrays["y"]
    shape = () if pixels is None else pixels.shape
    if pixels is None or pixels.dtype != np.uint8 or len(shape) not in (3, 4) or shape[2] != 3 or 0 in shape[:2]:
        raise DeployError(f"{path} has `X` of {_kind(pixels)}: {EXPECTED}")
    count = 1 if len(shape) == 3 else shape[3]  # MATLAB leaves the last 1 of a shape out
    if labels is None or labels.size != count:
        raise DeployError(f"{path} has {count} images and `y` of {_kind(labels)}: {EXPECTED}")
    found = labels.ravel()
    wrong = np.flatnonzero(~np.isin(found, np.arange(1, 11)))
    if len(wrong):
        raise DeployError(
            f"{path} image {wrong[0]} has label {found[wrong[0]]:g}: expected 1 to 10, where 10 is the digit 0"
        )
    images = pixels.astype(np.uint8, copy=False).reshape((*shape[:3], count), order="F")
    return StreamPart(count, images.nbytes, partial(_items, path.name, images, found.astype(np.uint8) % 10))


def _items(name: str, pixels: npt.NDArray[np.uint8], digits: npt.NDArray[np.uint8]) -> Iterator[Item]:
    for index, digit in enumerate(digits):
        yield Item(f"{name} image {index}", int(digit), partial(np.ascontiguousarray, pixels[..., index]))


def _kind(array: npt.NDArray[np.generic] | None) -> str:
    return "another kind" if array is None else f"{array.dtype} {array.shape}"
