"""MNIST and the sets in its files (Fashion-MNIST, KMNIST): idx, plain or .gz, read as a stream; numpy only."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.sampling.shuffle import buffer_capacity, shuffled
from wrn_deploy.errors import DamagedFile, DeployError

__all__ = ["NAMES", "MnistSource", "open_source", "recognise"]

NAMES: tuple[str, ...] = ()

FILES = {Role.TRAIN: "train-images", Role.TEST: "t10k-images"}
ENDINGS = ("-idx3-ubyte", ".idx3-ubyte", "-idx3-ubyte.gz", ".idx3-ubyte.gz")
# yann.lecun.org/exdb/mnist: two zero bytes, the type (8: uint8), the number of dimensions; then each, big-endian int32.
IMAGES, LABELS = b"\x00\x00\x08\x03", b"\x00\x00\x08\x01"
SIDE, PADDED_SIDE = 28, 32  # MNIST's, and that of LeNet-5's input and of CIFAR's networks
DAMAGED = (EOFError, OSError, OverflowError, MemoryError, ValueError, zlib.error, struct.error)


@dataclass(slots=True)
class MnistSource:
    """Grey images, `shape` (N, rows, columns); `classes` None: unknown. Digits and letters are never mirrored.

    Images of 28 x 28 get a black border of 2 pixels, which gives them the size of CIFAR's, for which the small networks
    are made; no pixel changes.
    """

    name: str
    file: Path
    shape: tuple[int, int, int]
    classes: npt.NDArray[np.uint8] | None
    labels: tuple[str, ...] = ()
    mirror: bool = False

    def __len__(self) -> int:
        """The number of images."""
        return self.shape[0]

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images in the file's order, or in a random one as far as a shuffle buffer reaches."""
        stream = self._stream()
        return stream if order is None else shuffled(stream, order, buffer_capacity(math.prod(self.shape[1:])))

    def _stream(self) -> Iterator[Item]:
        with _opened(self.file) as file:
            _read_header(file, IMAGES)
            for index in range(len(self)):
                pixels = _read(file, math.prod(self.shape[1:]), f"image {index} of {len(self)}")
                label = None if self.classes is None else int(self.classes[index])
                yield Item(f"{self.file.name} image {index}", label, partial(_to_rgb, pixels, self.shape[1:]))
            _check_end(file)


def recognise(path: Path) -> bool:
    """A folder with MNIST's images, or an idx file of images or labels; a truncated one too."""
    try:
        if path.is_dir():
            return any(_find(path, role) for role in FILES)
        with gzip.open(path) if _is_zipped(path) else path.open("rb") as file:
            return file.read(4) in (IMAGES, LABELS)
    except DAMAGED:
        return False


def open_source(name: str, role: Role) -> ImageSource:
    """Opens the images of the role in a folder, or a file of images; the labels are in the file beside it.

    Raises:
        DeployError: a file is missing or damaged, or the numbers of images and labels differ.
    """
    path = Path(name)
    file = _find(path, role) if path.is_dir() else path
    if file is None:
        raise DeployError(f"{path} lacks {FILES[role]}-idx3-ubyte: expected it there, or with .gz; download it")
    with _opened(file) as stream:
        count, rows, columns = _read_header(stream, IMAGES)
    if 0 in (rows, columns):
        raise DamagedFile(f"{file} has images of {columns}x{rows} pixels: expected some; download it again")
    own = math.prod((count, rows, columns)) + 16
    if not _is_zipped(file) and (size := file.stat().st_size) != own:
        raise DamagedFile(f"{file} has {size} bytes: expected {own} for {count} images; download it again")
    return MnistSource(name, file, (count, rows, columns), _labels_beside(file, count, needed=path.is_dir()))


def _find(folder: Path, role: Role) -> Path | None:
    return next((folder / f"{FILES[role]}{end}" for end in ENDINGS if (folder / f"{FILES[role]}{end}").is_file()), None)


def _labels_beside(images: Path, count: int, *, needed: bool) -> npt.NDArray[np.uint8] | None:
    """The labels, in the file with `labels` and `idx1` for `images` and `idx3` in its name."""
    plain = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    file = next((images.with_name(name) for name in (plain, f"{plain}.gz") if images.with_name(name).is_file()), None)
    if file is None or file == images:
        if needed:
            raise DeployError(f"{images.parent} lacks {plain}: expected the labels of {images.name} there; download it")
        return None
    with _opened(file) as stream:
        (found,) = _read_header(stream, LABELS)
        if found != count:
            raise DamagedFile(f"{file} has {found} labels for {count} images: expected one each; download both again")
        labels = np.frombuffer(_read(stream, found, "its labels"), dtype=np.uint8)
        _check_end(stream)
    return labels


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path) if _is_zipped(path) else path.open("rb") as file:
            yield cast("IO[bytes]", file)
    except DAMAGED as error:
        raise DamagedFile(f"{path} is damaged ({error}): expected a whole idx file; download it again") from error


def _read_header(file: IO[bytes], magic: bytes) -> tuple[int, ...]:
    """The dimensions."""
    found = _read(file, 4, "its header")
    if found != magic:
        raise EOFError(f"it begins with {found.hex()} instead of {magic.hex()}")
    return struct.unpack(f">{magic[3]}I", _read(file, 4 * magic[3], "its header"))


def _read(file: IO[bytes], count: int, part: str) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError(f"it ends in {part}")
    return content


def _check_end(file: IO[bytes]) -> None:
    """Compares the checksum of a .gz, which is read last."""
    if file.read(1):
        raise EOFError("there is more in it than its header says")


def _to_rgb(pixels: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    border = (PADDED_SIDE - SIDE) // 2 if shape == (SIDE, SIDE) else 0
    image = np.zeros((shape[0] + 2 * border, shape[1] + 2 * border, 3), dtype=np.uint8)
    inside = np.frombuffer(pixels, dtype=np.uint8).reshape(*shape, 1)
    image[border : border + shape[0], border : border + shape[1]] = inside
    return image
