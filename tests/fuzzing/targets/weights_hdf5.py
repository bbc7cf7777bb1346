"""Weights as HDF5, as hickle and h5py write them; a process of its own reads each file, so that searches are slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wrn_deploy.models.checkpoints.weights import read_weights

__all__ = ["MUTANTS", "PACKAGES", "read", "seeds"]

PACKAGES = ("h5py",)
MUTANTS = 40


def seeds(folder: Path) -> Iterator[bytes]:
    """Stored as it is, in chunks, and deflated; in groups, with attributes and a link."""
    import h5py

    for libver in ("earliest", "latest"):
        with h5py.File(folder / "w.h5", "w", libver=libver) as file:
            file["data/conv"] = np.arange(24, dtype="f4").reshape(4, 6)
            file.create_dataset("data/bn", data=np.ones(300), chunks=(100,), compression="gzip", shuffle=True)
            file["data"].attrs["by"] = "a test"
            file["link"] = h5py.SoftLink("/data/conv")
        yield (folder / "w.h5").read_bytes()


def read(path: Path) -> None:
    """Reads the arrays."""
    repr(read_weights(path).tensors)
