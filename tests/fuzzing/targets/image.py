"""Encoded images of every format that is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from tests.fuzzing.sets import HOW
from wrn_deploy.data import Item
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.preprocess import fit_item

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """Colour, grey, deep, palette and animation in each format that has them."""
    pixels = np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3)
    colour, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    text = PngImagePlugin.PngInfo()
    text.add_text("key", "text" * 20, zip=True)
    written: tuple[tuple[Image.Image, str, dict[str, Any]], ...] = (
        (colour, "PNG", {"pnginfo": text}), (deep, "PNG", {}), (colour.quantize(8), "PNG", {}), (grey, "PNG", {}),
        (colour, "JPEG", {}), (colour, "JPEG", {"progressive": True}), (colour.convert("CMYK"), "JPEG", {}),
        (colour, "WEBP", {}), (colour, "WEBP", {"lossless": True}), (colour, "WEBP", {"save_all": True}),
        (colour, "GIF", {}), (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "TIFF", {}), (colour, "TIFF", {"compression": "tiff_lzw"}), (deep, "TIFF", {}),
        (colour, "TIFF", {"compression": "jpeg"}), (grey, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (grey.convert("1"), "TIFF", {"compression": "group4"}), (colour, "BMP", {}), (grey, "BMP", {}),
        (colour, "PPM", {}), (grey, "PPM", {}), (grey.convert("1"), "PPM", {}),
    )  # fmt: skip
    for image, kind, options in written:
        stream = BytesIO()
        image.save(stream, kind, **options)
        yield stream.getvalue()


def read(path: Path) -> None:
    """Decodes, resizes and crops it."""
    fit_item(Item("x", None, Encoded(path, "x")), HOW)
