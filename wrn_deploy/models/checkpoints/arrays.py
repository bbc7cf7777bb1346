"""Reads weights stored as named arrays: NumPy's .npz, and HDF5 as hickle writes it; never pickles."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wrn_deploy.errors import DamagedFile, missing_package

__all__ = ["HDF5", "is_npz", "read_hdf5", "read_npz"]

HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of an HDF5 file


def is_npz(file: Path) -> bool:
    """Whether the file is an archive of NumPy arrays, and not of `torch.save`, which writes archives too."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(file: Path) -> dict[str, torch.Tensor]:
    """The arrays by name.

    Raises:
        DeployError: the file is damaged, or has arrays of pickled Python objects.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _tensor(arrays[name]) for name in arrays.files}
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedFile(f"{file} is damaged or holds more than arrays ({error}): expected a whole .npz") from error


def read_hdf5(file: Path) -> dict[str, torch.Tensor]:
    """The arrays by the names of their groups, without the groups (`data_0`) and quotes that hickle adds.

    Raises:
        DeployError: the file is damaged.
        MachineError: h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise missing_package("h5py", "hdf5", f"reading {file.name}") from error
    found: dict[str, torch.Tensor] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
            parts = [part.strip("'\"") for part in name.split("/") if not re.fullmatch(r"data(_\d+)?", part)]
            found[".".join(parts)] = _tensor(np.asarray(item[()]))

    try:
        with h5py.File(file, "r") as opened:
            opened.visititems(visit)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DamagedFile(f"{file} is damaged or truncated ({error}): expected a whole HDF5 file") from error
    return found


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
