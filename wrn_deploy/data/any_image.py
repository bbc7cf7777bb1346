"""Reads an image given as a path, encoded bytes, a Pillow image or pixels; numpy and Pillow only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wrn_deploy.data import Item
from wrn_deploy.data.decoding.decode import Encoded, pixels_of
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import fit_image, fit_item
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Preprocessing

__all__ = ["AnyImage", "ImageBytes", "fit_images", "is_encoded"]


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The bytes of an image file that has another name than a path: an address, or standard input."""

    name: str
    content: bytes


AnyImage: TypeAlias = str | os.PathLike[str] | bytes | ImageBytes | Image.Image | npt.NDArray[np.uint8]
EXPECTED = "expected a path, the bytes of an image file, a Pillow image, or a uint8 array (height, width, 3), RGB"


def fit_images(
    images: Sequence[AnyImage], preprocessing: Preprocessing, size: int, decoders: Decoders | None = None
) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.uint8]]]:
    """Yields the images resized and cropped, up to `size` at a time: their names, and uint8 (N, height, width, 3).

    A Pillow image may have any mode; an array is uint8, RGB (H, W, 3) or grey (H, W). A name is the image's path, or
    without one its index, as in "image 0". With `decoders`, those that are encoded are decoded in its processes.

    Raises:
        DeployError: an image cannot be read or decoded, is of another type, or does not have the network's size and
            `preprocessing` does not resize.
    """
    names = [_name(image, index) for index, image in enumerate(images)]
    items = [_encoded(image, name) for image, name in zip(images, names, strict=True)]
    decoded = iter(decoders.fit(filter(None, items), preprocessing)) if decoders is not None else None

    def fit(index: int) -> npt.NDArray[np.uint8]:
        item = items[index]
        if item is None:
            return fit_image(_read_image(images[index], names[index]), preprocessing, names[index])
        outcome = fit_item(item, preprocessing) if decoded is None else next(decoded)[1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    for start in range(0, len(images), size):
        indices = range(start, min(start + size, len(images)))
        yield tuple(names[index] for index in indices), np.stack([fit(index) for index in indices])


def is_encoded(image: AnyImage) -> bool:
    """Whether the image has to be decoded: it is a path or bytes."""
    return isinstance(image, str | os.PathLike | bytes | bytearray | memoryview | ImageBytes)


def _name(image: AnyImage, index: int) -> str:
    if isinstance(image, ImageBytes):
        return image.name
    return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {index}"


def _encoded(image: AnyImage, name: str) -> Item | None:
    """The image as an item that decodes it; None for one that is no file and no bytes of one."""
    if isinstance(image, str | os.PathLike):
        return Item(name, None, Encoded(Path(image), name))
    if isinstance(image, bytes | bytearray | memoryview):
        return Item(name, None, Encoded(bytes(image), name))
    if isinstance(image, ImageBytes):
        return Item(name, None, Encoded(image.content, name))
    return None


def _read_image(image: AnyImage, name: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels, RGB uint8 HWC, which may be the caller's own array; `name` is for errors."""
    if isinstance(image, np.ndarray):
        return _check_pixels(image, name)
    if isinstance(image, Image.Image):
        return pixels_of(image, name)
    kind = f"{type(image).__module__}.{type(image).__qualname__}"
    raise DeployError(f"{name} is a {kind.removeprefix('builtins.')}: {EXPECTED}")


def _check_pixels(pixels: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.size:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        more = "; give several as a list" if pixels.ndim == 4 else ""
        raise DeployError(f"{name} is a {pixels.dtype} array {pixels.shape}: {EXPECTED}{more}")
    return pixels
