"""MNIST and the sets in its files (Fashion-MNIST, KMNIST): idx, plain or .gz, read as a stream; numpy only."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.containers.forward import ForwardStream
from wrn_deploy.data.containers.listing import check_inside
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.data.splits import choose_role
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import DAMAGE, name_damage

__all__ = ["PLACES", "open_source", "recognise"]

PLACES = ("MNIST/raw", "FashionMNIST/raw", "KMNIST/raw")  # torchvision's root

FILES = {Role.TRAIN: "train-images", Role.TEST: "t10k-images"}
ENDINGS = ("-idx3-ubyte", ".idx3-ubyte", "-idx3-ubyte.gz", ".idx3-ubyte.gz")
# yann.lecun.org/exdb/mnist: two zero bytes, the type (8: uint8), the number of dimensions; then each, big-endian int32.
IMAGES, LABELS = b"\x00\x00\x08\x03", b"\x00\x00\x08\x01"
SIDE, PADDED_SIDE = 28, 32  # MNIST's, and that of LeNet-5's input and of CIFAR's networks


def recognise(path: Path) -> bool:
    """Recognises a folder with MNIST's images, or an idx file of images or labels; a truncated one too."""
    if path.is_dir():
        return any(_find(path, role) for role in FILES)
    try:
        with ForwardStream(path) as file:
            return file.read(4) in (IMAGES, LABELS)
    except DAMAGE:
        return False


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens the images of the role in a folder, or a file of images; the labels are in the file beside it.

    Images of 28 x 28 get a black border of 2 pixels, which gives them the size of CIFAR's, for which the small networks
    are made; no pixel changes. Digits and letters are never mirrored.

    Raises:
        DeployError: a file is missing or damaged, or the numbers of images and labels differ.
    """
    path, role = Path(name), choose_role(role, split, name)
    file = _find(path, role) if path.is_dir() else path
    if file is None:
        raise DeployError(f"{path} lacks {FILES[role]}-idx3-ubyte: expected it there, or with .gz; download it")
    if path.is_dir():
        check_inside(path, [file])
    with name_damage(file, "idx"), ForwardStream(file) as stream:
        count, rows, columns = _read_header(stream, IMAGES)
        size = stream.plain_bytes
    if 0 in (rows, columns):
        raise DamagedFile(f"{file} has images of {columns}x{rows} pixels: expected some; download it again")
    budget().check("pixels", rows * columns, f"one image of {file}")
    budget().check("members", count, file)
    pixels = count * rows * columns
    if size is not None and size != pixels + 16:
        raise DamagedFile(f"{file} has {size} bytes: expected {pixels + 16} for {count} images; download it again")
    labels = _labels_beside(file, count, needed=path.is_dir())
    part = StreamPart(count, pixels, partial(_items, file, (rows, columns), labels))
    return stream_source(name, [part], mirror=False)


def _items(file: Path, shape: tuple[int, int], labels: npt.NDArray[np.uint8] | None) -> Iterator[Item]:
    with name_damage(file, "idx"), ForwardStream(file) as stream:
        count = _read_header(stream, IMAGES)[0]
        for index in range(count):
            pixels = _read(stream, math.prod(shape), f"image {index} of {count}")
            label = None if labels is None else int(labels[index])
            yield Item(f"{file.name} image {index}", label, partial(_to_rgb, pixels, shape))
        _check_end(stream)


def _find(folder: Path, role: Role) -> Path | None:
    return next((folder / f"{FILES[role]}{end}" for end in ENDINGS if (folder / f"{FILES[role]}{end}").is_file()), None)


def _labels_beside(images: Path, count: int, *, needed: bool) -> npt.NDArray[np.uint8] | None:
    """Reads the labels from the file with `labels` and `idx1` instead of `images` and `idx3` in its name."""
    plain = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    file = next((images.with_name(name) for name in (plain, f"{plain}.gz") if images.with_name(name).is_file()), None)
    if file is None or file == images:
        if needed:
            raise DeployError(f"{images.parent} lacks {plain}: expected the labels of {images.name} there; download it")
        return None
    if needed:
        check_inside(images.parent, [file])
    with name_damage(file, "idx"), ForwardStream(file) as stream:
        (found,) = _read_header(stream, LABELS)
        if found != count:
            raise DamagedFile(f"{file} has {found} labels for {count} images: expected one each; download both again")
        labels = np.frombuffer(_read(stream, found, "its labels"), dtype=np.uint8)
        _check_end(stream)
    return labels


def _read_header(file: ForwardStream, magic: bytes) -> tuple[int, ...]:
    """Returns the dimensions."""
    found = _read(file, 4, "its header")
    if found != magic:
        raise EOFError(f"it begins with {found.hex()} instead of {magic.hex()}")
    return struct.unpack(f">{magic[3]}I", _read(file, 4 * magic[3], "its header"))


def _read(file: ForwardStream, count: int, part: str) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError(f"it ends in {part}")
    return content


def _check_end(file: ForwardStream) -> None:
    """Reads on, so that the checksum of a .gz is compared."""
    if file.read(1):
        raise EOFError("there is more in it than its header says")


def _to_rgb(pixels: bytes, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    border = (PADDED_SIDE - SIDE) // 2 if shape == (SIDE, SIDE) else 0
    image = np.zeros((shape[0] + 2 * border, shape[1] + 2 * border, 3), dtype=np.uint8)
    inside = np.frombuffer(pixels, dtype=np.uint8).reshape(*shape, 1)
    image[border : border + shape[0], border : border + shape[1]] = inside
    return image
