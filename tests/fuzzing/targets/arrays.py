"""Arrays of images: .npz, stored and deflated, and idx, plain and compressed."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from tests.fuzzing.sets import read_set
from wrn_deploy.data.formats import mnist, npz

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """Three small images in each form."""
    images = np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3)
    for save in (np.savez, np.savez_compressed):
        stream = BytesIO()
        save(stream, images=images, labels=np.arange(3))
        yield stream.getvalue()
    idx = struct.pack(">IIII", 0x803, 3, 8, 8) + images[..., 0].tobytes()
    yield idx
    yield gzip.compress(idx, mtime=0)


def read(path: Path) -> None:
    """Decodes all images."""
    read_set(path, mnist, npz)
