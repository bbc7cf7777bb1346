"""What the targets of data sets share: a small image, and reading a set as `eval` does."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from wrn_deploy.data import CorruptImage, Role
from wrn_deploy.data.preprocess import fit_item
from wrn_deploy.spec import Preprocessing

__all__ = ["HOW", "read_set", "small_png"]

HOW = Preprocessing(height=32, width=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=32)


def small_png() -> bytes:
    """The content of a PNG of 8 x 8 pixels."""
    stream = BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, "PNG")
    return stream.getvalue()


def read_set(path: Path, *formats: ModuleType) -> None:
    """Decodes all images of a set in one of the formats; corrupt ones are left out, as with --max-corrupt."""
    for known in formats:
        if known.recognise(path):
            for item in known.open_source(str(path), Role.TEST, None).items():
                with contextlib.suppress(CorruptImage):
                    fit_item(item, HOW)
