"""Decodes images (JPEG, PNG, ...) to RGB pixels; Pillow and numpy only."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from wrn_deploy.data import CorruptImage
from wrn_deploy.data.decoding.depth import UnknownDepthError, check_reduced, is_reduced, to_eight_bits
from wrn_deploy.data.decoding.png import without_texts
from wrn_deploy.data.foreign import describe_foreign
from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import Budget, budget
from wrn_deploy.files.damage import DAMAGE
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import read_at_most

__all__ = ["Encoded", "pixels_of"]

# Only these are tried: some of Pillow's other formats start programs (EPS) or open files that the image names.
CODECS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
ROW_PIXELS = 3  # Pillow keeps an address for each row, which takes as much memory as two pixels
WHOLE = ("JPEG", "PNG")  # once loaded, these do not need their file, so the pixels need not be copied

# What Pillow raises for damaged files depends on the codec. DecompressionBombWarning is raised only under `-W error`.
UNDECODABLE: tuple[type[Exception], ...] = (
    *DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning,
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
            CorruptImage: it is truncated, damaged, not an image, of unknown depth, over a limit, or cannot be read.
        """
        return np.asarray(self.picture(), dtype=np.uint8)

    def picture(self) -> Image.Image:
        """Returns a Pillow image in mode RGB, which saves two copies before resizing; raises as `__call__` does."""
        content = b""
        try:
            content = self._read()
            _let_pillow_open(budget().pixels)
            with Image.open(BytesIO(without_texts(content)), formats=_codecs()) as image:
                return _checked_rgb(image, self.name)
        except OverLimit as error:
            raise CorruptImage(str(error)) from error
        except UNDECODABLE as error:
            raise _undecodable(self.name, error, content) from error

    def _read(self) -> bytes:
        limits = budget()
        try:
            if isinstance(self.content, bytes):
                limits.check("image_bytes", len(self.content), self.name)
                return self.content
            with open_regular(self.content) as file:
                limits.check("image_bytes", os.fstat(file.fileno()).st_size, self.name)
                return read_at_most(file, limits.image_bytes)
        except OverLimit as error:
            raise CorruptImage(str(error)) from error
        except (OSError, ValueError, DamagedFile) as error:  # ValueError: a name with a null character
            reason = getattr(error, "strerror", None) or error
            raise CorruptImage(f"{self.name} cannot be read ({reason}): expected an image file") from error


def pixels_of(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels of a Pillow image of any colour mode as `Encoded` does.

    Raises:
        CorruptImage: its depth is unknown, it is too large, or its file, which Pillow reads only now, is damaged.
    """
    try:
        return np.asarray(_checked_rgb(image, name), dtype=np.uint8)
    except OverLimit as error:
        raise CorruptImage(str(error)) from error
    except UNDECODABLE as error:
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: Exception, content: bytes = b"") -> CorruptImage:
    if isinstance(error, Image.DecompressionBombError):
        most = budget().pixels
        return CorruptImage(
            f"{name} cannot be decoded ({error}): the limit is pixels={most}; if you trust the file, raise it with "
            f"`wrn-deploy --limit pixels={10 * most} ...`"
        )
    if isinstance(error, UnknownDepthError):
        return CorruptImage(
            f"{name} cannot be converted to 8 bits ({error}): expected 8 bits per channel, or 16 of which all are "
            "used; divide its values by the white one, multiply by 255, and save it with 8 bits"
        )
    if not isinstance(error, UnidentifiedImageError):
        return CorruptImage(f"{name} cannot be decoded ({error}): expected an intact image file")
    found = describe_foreign(content)
    return CorruptImage(f"{name} cannot be decoded ({found or 'no known image format'}): expected an intact image file")


@functools.cache
def _codecs() -> tuple[str, ...]:
    try:
        from PIL import AvifImagePlugin
    except ImportError:  # before Pillow 11.3
        return CODECS
    return (*CODECS, "AVIF") if AvifImagePlugin.SUPPORTED else CODECS


def _let_pillow_open(pixels: int) -> None:
    """Raises Pillow's own limit, twice which it refuses, if the budget was raised; it is one for the process."""
    own = Image.MAX_IMAGE_PIXELS
    if own is not None and pixels > max(2 * own, Budget().pixels):
        Image.MAX_IMAGE_PIXELS = pixels


def _checked_rgb(image: Image.Image, name: str) -> Image.Image:
    """Checks the size before Pillow makes room for the pixels, which it does when they are first used."""
    budget().check("pixels", max(ROW_PIXELS, image.width) * image.height, name)
    return _to_rgb(image)


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
