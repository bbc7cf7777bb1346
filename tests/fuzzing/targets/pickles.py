"""Pickled batches, as the Python version of CIFAR has them."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wrn_deploy.data.containers.array_pickle import read_array_pickle

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """A batch of two images in each protocol, and one that Python 2 and numpy 1 wrote."""
    table = {b"data": np.arange(96, dtype=np.uint8).reshape(2, 48), b"labels": [1, 2], b"batch_label": "é"}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps(table, protocol)
    yield pickletools.optimize(pickle.dumps(table, 2)).replace(b"numpy._core", b"numpy.core")


def read(path: Path) -> None:
    """Reads the table, and looks at all of it."""
    repr(read_array_pickle(path))
