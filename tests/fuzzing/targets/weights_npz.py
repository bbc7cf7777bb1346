"""Weights as .npz archives of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from wrn_deploy.models.checkpoints.weights import read_weights

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """Stored and deflated, in C and in Fortran order, in both byte orders."""
    arrays = {
        "a.w": np.arange(6, dtype="<f4").reshape(2, 3),
        "b": np.asfortranarray(np.ones((2, 3))),
        "c": np.array(1, ">f2"),
    }
    for save in (np.savez, np.savez_compressed):
        stream = BytesIO()
        save(stream, allow_pickle=False, **arrays)
        yield stream.getvalue()


def read(path: Path) -> None:
    """Reads the arrays."""
    repr(read_weights(path).tensors)
