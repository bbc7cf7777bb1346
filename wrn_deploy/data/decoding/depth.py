"""Brings a Pillow image of any depth to 8 bits, and refuses one whose file does not say which value is white."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

__all__ = ["UnknownDepthError", "check_reduced", "is_reduced", "to_eight_bits"]

# Cameras and scanners give 8, 10, 12 or 14 bits, often in files of 16: such values would be taken for a black image.
NARROW = 2**14
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags: TIFF 6.0, section 8 and 19
WHITE_IS_ZERO, UNSIGNED = 0, 1


class UnknownDepthError(ValueError):
    """The file does not say which value is white."""


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Returns an image of 8 bits a channel; one that has them is returned as it is.

    16-bit grey keeps its upper 8 bits, as Pillow does with 16-bit colour.

    Raises:
        UnknownDepthError: floats, whole numbers of 32 bits, signed numbers, and 16-bit values that all fit in 14 bits.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "F":
        raise UnknownDepthError("its values are floats, and the file does not define white")
    if set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) - {UNSIGNED}:
        raise UnknownDepthError("its values are signed numbers, and it does not say which ones are black and white")
    if image.mode == "I" and image.format not in ("PPM", "PNG"):  # whose values are of 16 bits
        raise UnknownDepthError("its values are integers of 32 bits, and the file does not define white")
    if not image.mode.startswith("I"):
        return image
    depth = 12 if tags.get(BITS_PER_SAMPLE) == (12,) else 16
    is_scaled = depth < 16 or _has_maxval(image)
    values = np.asarray(image)
    if not is_scaled and values.any():
        _check_range(int(values.max()))
    grey = (values >> (depth - 8)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey)


def is_reduced(image: Image.Image) -> bool:
    """Whether Pillow will keep the upper 8 of 16 bits of colour; known only before the image is loaded."""
    return ";16" in _raw_mode(image) and not image.mode.startswith("I")


def check_reduced(image: Image.Image) -> None:
    """Checks an image of which Pillow kept the upper 8 of 16 bits.

    Raises:
        UnknownDepthError: the values all fit in 14 bits.
    """
    colours = (image.getchannel(band) for band in image.getbands() if band not in ("A", "a"))
    _check_range(max((int(np.asarray(colour).max()) for colour in colours), default=0) << 8 | 255)


def _check_range(largest: int) -> None:
    if largest < NARROW:
        raise UnknownDepthError(
            f"its values end at {largest} of 65535, as those of {max(8, largest.bit_length())} bits do, and it does "
            "not say which one is white"
        )


def _has_maxval(image: Image.Image) -> bool:
    """Whether it is a PGM whose own maximum Pillow scales to 65535; known only before the image is loaded."""
    return image.format == "PPM" and any(tile[0] in ("ppm", "ppm_plain") for tile in getattr(image, "tile", ()))


def _raw_mode(image: Image.Image) -> str:
    """How the values lie in the file, as in "RGB;16B"; empty for an image without a file."""
    for tile in getattr(image, "tile", ()):
        arguments = tile[3]
        return str(arguments if isinstance(arguments, str) else (arguments or ("",))[0])
    return ""
