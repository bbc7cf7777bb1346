"""Reads an image given as a path, encoded bytes, a Pillow image or pixels; numpy and Pillow only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wrn_deploy.data.decoding.decode import Encoded, pixels_of
from wrn_deploy.data.preprocess import fit_image
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Preprocessing

__all__ = ["AnyImage", "fit_images"]

AnyImage: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
EXPECTED = "expected a path, the bytes of an image file, a Pillow image, or a uint8 array (height, width, 3), RGB"


def fit_images(
    images: Sequence[AnyImage], preprocessing: Preprocessing, size: int
) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.uint8]]]:
    """Yields the images resized and cropped, up to `size` at a time: their names, and uint8 (N, height, width, 3).

    A Pillow image may have any mode; an array is uint8, RGB (H, W, 3) or grey (H, W). A name is the image's path, or
    without one its index, as in "image 0".

    Raises:
        DeployError: an image cannot be read or decoded, is of another type, or does not have the network's size and
            `preprocessing` does not resize.
    """
    for start in range(0, len(images), size):
        names, fitted = [], []
        for index, image in enumerate(images[start : start + size], start):
            names.append(_name(image, index))
            fitted.append(fit_image(_read_image(image, names[-1]), preprocessing, names[-1]))
        yield tuple(names), np.stack(fitted)


def _name(image: AnyImage, index: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {index}"


def _read_image(image: AnyImage, name: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels, RGB uint8 HWC, which may be the caller's own array; `name` is for errors."""
    if isinstance(image, str | os.PathLike):
        return Encoded(Path(image), name)()
    if isinstance(image, bytes | bytearray | memoryview):
        return Encoded(bytes(image), name)()
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
