"""MATLAB's level 5 files, as SVHN has them."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from tests.fuzzing.sets import read_set
from wrn_deploy.data.formats import svhn

__all__ = ["PACKAGES", "read", "seeds"]

PACKAGES = ("scipy",)


def seeds(_folder: Path) -> Iterator[bytes]:
    """Two small images, plain and compressed."""
    from scipy.io import savemat

    pixels = np.arange(8 * 8 * 3 * 2, dtype=np.uint8).reshape(8, 8, 3, 2)
    for compressed in (False, True):
        stream = BytesIO()
        savemat(stream, {"X": pixels, "y": np.array([[1], [10]], np.uint8)}, do_compression=compressed)
        yield stream.getvalue()


def read(path: Path) -> None:
    """Decodes all images."""
    read_set(path, svhn)
