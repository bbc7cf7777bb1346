"""Reads weights from HDF5 files, as hickle writes them; a process of its own reads the file itself."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from wrn_deploy.errors import DamagedFile, missing_package
from wrn_deploy.files.budget import budget
from wrn_deploy.files.formats.hdf5_arrays import EXPECTED, NUMBERS
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import parse_json
from wrn_deploy.process.limited import read_limited

__all__ = ["HDF5", "read_hdf5"]

HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of an HDF5 file
READER = "wrn_deploy.files.formats.hdf5_arrays:write_arrays"


def read_hdf5(file: Path) -> dict[str, torch.Tensor]:
    """The arrays by the names of their groups, without the groups (`data_0`) and quotes that hickle adds.

    Raises:
        DamagedFile: the file is damaged.
        DeployError: it names data in other files, or needs a filter that HDF5 does not come with.
        OverLimit: its arrays are too large or too many.
        MachineError: h5py is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise missing_package("h5py", "hdf5", f"reading {file.name}")
    found: dict[str, torch.Tensor] = {}
    with open_regular(file) as stream, read_limited(READER, stream, file, EXPECTED) as written:
        for path, kind, shape in parse_json(written.readline(budget().text_bytes).decode("utf-8"), file):
            parts = (part.strip("'\"") for part in path.split("/") if part and not re.fullmatch(r"data(_\d+)?", part))
            name = ".".join(parts)
            if name in found:
                raise DamagedFile(f"{file} has two arrays called {name!r}: expected one of each name")
            found[name] = _read_array(written, kind, shape, file)
    return found


def _read_array(written: BinaryIO, kind: str, shape: list[int], file: Path) -> torch.Tensor:
    if not re.fullmatch(NUMBERS, kind):
        raise DamagedFile(f"{file} is damaged (type {kind!r}): {EXPECTED}")
    array = np.fromfile(written, np.dtype(kind), math.prod(shape))
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape))
