"""Decodes images (JPEG, PNG, ...) to RGB pixels; Pillow and numpy only."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from wrn_deploy.data import CorruptImage

__all__ = ["IMAGE_SUFFIXES", "Encoded", "pixels_of"]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# Only these are tried: some of Pillow's other formats start programs (EPS) or open files that the image names.
CODECS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
WHOLE = ("JPEG", "PNG")  # once loaded, these do not need their file, so the pixels need not be copied

# What Pillow raises for damaged files depends on the codec. DecompressionBombWarning is raised only under `-W error`.
UNDECODABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Encoded:
    """Decodes an image of any colour mode, given as its content or its file; `name` is for errors.

    Transparency is dropped, 16-bit grey keeps its upper 8 bits, the EXIF orientation is not applied (the training
    sets' usual loaders do not either), and an animation gives its first frame.
    """

    content: bytes | Path
    name: str

    def __call__(self) -> npt.NDArray[np.uint8]:
        """Returns the pixels: RGB, uint8, HWC, not writable.

        Raises:
            CorruptImage: it is truncated, damaged, not an image, absurdly large, or cannot be read.
        """
        return np.asarray(self.picture(), dtype=np.uint8)

    def picture(self) -> Image.Image:
        """Returns a Pillow image in mode RGB, which saves two copies before resizing; raises as `__call__` does."""
        try:
            with Image.open(BytesIO(self._read()), formats=CODECS) as image:
                return _to_rgb(image)
        except UNDECODABLE as error:
            raise _undecodable(self.name, error) from error

    def _read(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        try:
            return self.content.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            reason = getattr(error, "strerror", None) or error
            raise CorruptImage(f"{self.name} cannot be read ({reason}): expected an image file") from error


def pixels_of(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels of a Pillow image of any colour mode as `Encoded` does.

    Raises:
        CorruptImage: the file of the image, which Pillow reads only now, is damaged.
    """
    try:
        return np.asarray(_to_rgb(image), dtype=np.uint8)
    except UNDECODABLE as error:
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: Exception) -> CorruptImage:
    reason = "no known image format" if isinstance(error, UnidentifiedImageError) else error
    return CorruptImage(f"{name} cannot be decoded ({reason}): expected a whole image file")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and image.format in WHOLE:
        image.load()
        return image
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray((wide >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")  # directly to RGB, Pillow warns about transparency
    return image.convert("RGB")
