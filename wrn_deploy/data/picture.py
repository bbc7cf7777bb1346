"""Pixels as a small PNG file, for pages that show them; Pillow inside the function only."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

__all__ = ["to_png"]


def to_png(image: npt.NDArray[np.uint8], longest: int) -> bytes:
    """The image (RGB, uint8, HWC) as a PNG file; one with a side beyond `longest` pixels is made smaller."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest))  # does not enlarge, and keeps the sides' ratio
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
