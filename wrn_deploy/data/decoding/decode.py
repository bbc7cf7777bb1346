"""Decodes images (JPEG, PNG, ...) to RGB pixels; Pillow and numpy only."""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from wrn_deploy.data import CorruptImage
from wrn_deploy.data.decoding.depth import UnknownDepthError, check_reduced, is_reduced, to_eight_bits
from wrn_deploy.data.foreign import describe_foreign

__all__ = ["Encoded", "pixels_of"]

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

    Transparency is dropped, 16 bits keep their upper 8 (see `depth`), the EXIF orientation is not applied (the training
    sets' usual loaders do not either), and an animation gives its first frame.
    """

    content: bytes | Path
    name: str

    def __call__(self) -> npt.NDArray[np.uint8]:
        """Returns the pixels: RGB, uint8, HWC, not writable.

        Raises:
            CorruptImage: it is truncated, damaged, not an image, absurdly large, of unknown depth, or cannot be read.
        """
        return np.asarray(self.picture(), dtype=np.uint8)

    def picture(self) -> Image.Image:
        """Returns a Pillow image in mode RGB, which saves two copies before resizing; raises as `__call__` does."""
        content = self._read()
        try:
            with Image.open(BytesIO(content), formats=_codecs()) as image:
                return _to_rgb(image)
        except UNDECODABLE as error:
            raise _undecodable(self.name, error, content) from error

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
        CorruptImage: its depth is unknown, or its file, which Pillow reads only now, is damaged.
    """
    try:
        return np.asarray(_to_rgb(image), dtype=np.uint8)
    except UNDECODABLE as error:
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: Exception, content: bytes = b"") -> CorruptImage:
    if isinstance(error, UnknownDepthError):
        return CorruptImage(
            f"{name} cannot be brought to 8 bits ({error}): expected 8 bits a channel, or 16 of which all are used; "
            "divide its values by the white one, multiply by 255, and save it with 8 bits"
        )
    if not isinstance(error, UnidentifiedImageError):
        return CorruptImage(f"{name} cannot be decoded ({error}): expected a whole image file")
    found = describe_foreign(content)
    return CorruptImage(f"{name} cannot be decoded ({found or 'no known image format'}): expected a whole image file")


@functools.cache
def _codecs() -> tuple[str, ...]:
    try:
        from PIL import AvifImagePlugin
    except ImportError:  # before Pillow 11.3
        return CODECS
    return (*CODECS, "AVIF") if AvifImagePlugin.SUPPORTED else CODECS


def _to_rgb(image: Image.Image) -> Image.Image:
    if is_reduced(image):
        image.load()
        check_reduced(image)
    if image.mode == "RGB" and image.format in WHOLE:
        image.load()
        return image
    image = to_eight_bits(image)
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")  # directly to RGB, Pillow warns about transparency
    return image.convert("RGB")
