"""SVHN's cropped digits as their own site gives them (.mat), read as a stream; numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.containers.mat_file import MatArray, is_mat_file, list_arrays, read_values
from wrn_deploy.data.sampling.shuffle import buffer_capacity, merged, shuffled
from wrn_deploy.errors import DeployError

__all__ = ["NAMES", "SvhnSource", "open_source", "recognise"]

NAMES: tuple[str, ...] = ()

# ufldl.stanford.edu/housenumbers, "Format 2"; y is 1 to 9 for these digits, and 10 for the digit 0.
FILES = {Role.TRAIN: ("train_32x32.mat", "extra_32x32.mat"), Role.TEST: ("test_32x32.mat",)}
EXPECTED = "expected `X`, uint8 (32, 32, 3, N), and `y`, N whole numbers from 1 to 10"
READ_BYTES = 2**18  # of pixels at once


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    pixels: MatArray
    digits: npt.NDArray[np.uint8]


@dataclass(slots=True)
class SvhnSource:
    """One split of SVHN; a mirrored 2 is no 2, so never mirrored."""

    name: str
    files: list[_File]
    labels: tuple[str, ...] = tuple("0123456789")
    mirror: bool = False

    def __len__(self) -> int:
        """The number of images."""
        return sum(len(file.digits) for file in self.files)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images in the files' order, or with mixed files and a shuffle buffer."""
        if order is None:
            return (item for file in self.files for item in _stream(file))
        streams = [(len(file.digits), _stream(file)) for file in self.files]
        image_bytes = int(np.prod(self.files[0].pixels.shape[:3]))
        return shuffled(merged(streams, order), order, buffer_capacity(image_bytes))


def recognise(path: Path) -> bool:
    """A MAT file, or a folder with one of the three files."""
    try:
        if path.is_dir():
            return any((path / file).is_file() for role in FILES for file in FILES[role])
        return is_mat_file(path)
    except OSError:
        return False


def open_source(name: str, role: Role) -> ImageSource:
    """Opens one file, which is one split whatever the role, or those of the role in a folder.

    In a folder, the training images are `train_32x32.mat` and, if it is there, `extra_32x32.mat`: the paper trains on
    both.

    Raises:
        DeployError: a file is missing or damaged, or has other arrays or labels.
    """
    path = Path(name)
    if not path.is_dir():
        return SvhnSource(name, [_open(path)])
    first, *more = (path / file for file in FILES[role])
    if not first.is_file():
        raise DeployError(f"{path} lacks {first.name}: expected it there; download it, or give one of its files itself")
    return SvhnSource(name, [_open(file) for file in (first, *(file for file in more if file.is_file()))])


def _open(path: Path) -> _File:
    arrays = {array.name: array for array in list_arrays(path)}
    if not {"X", "y"} <= arrays.keys():
        raise DeployError(f"{path} holds {', '.join(arrays) or 'nothing'}: {EXPECTED}")
    pixels, labels = arrays["X"], arrays["y"]
    count = 1 if len(pixels.shape) == 3 else pixels.shape[-1]  # MATLAB leaves the last 1 of a shape out
    if pixels.dtype != np.uint8 or len(pixels.shape) not in (3, 4) or pixels.shape[2] != 3 or 0 in pixels.shape[:2]:
        raise DeployError(f"{path} has `X` of {pixels.dtype or 'another kind'} {pixels.shape}: {EXPECTED}")
    if labels.dtype is None or labels.size != count:
        raise DeployError(f"{path} has {count} images and `y` of {labels.shape}: {EXPECTED}")
    found = np.concatenate([np.zeros(0), *read_values(path, labels, 2**16)])
    wrong = np.flatnonzero(~np.isin(found, np.arange(1, 11)))
    if len(wrong):
        label = found[wrong[0]]
        raise DeployError(f"{path} image {wrong[0]} has label {label:g}: expected 1 to 10, where 10 is the digit 0")
    return _File(path, pixels, (found % 10).astype(np.uint8))


def _stream(file: _File) -> Iterator[Item]:
    columns_rows = file.pixels.shape[2], file.pixels.shape[1], file.pixels.shape[0]
    size, index = int(np.prod(columns_rows)), 0
    for block in read_values(file.path, file.pixels, max(1, READ_BYTES // size) * size):
        for pixels in block.reshape(-1, size):
            load = partial(_to_rgb, pixels.tobytes(), columns_rows)
            yield Item(f"{file.path.name} image {index}", int(file.digits[index]), load)
            index += 1


def _to_rgb(pixels: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """From MATLAB's column-major order, which read forwards is colour, column, row."""
    return np.ascontiguousarray(np.frombuffer(pixels, dtype=np.uint8).reshape(shape).transpose(2, 1, 0))
