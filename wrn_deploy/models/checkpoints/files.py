"""Reads files of other programs as data only (`torch.save`, .npz, HDF5 as hickle writes it); never runs code in them.

Training scripts save other objects beside the tensors (arguments, meters, NumPy scalars). Torch's restricted unpickler
gets a stand-in for their classes, which does nothing, so that such files can be read without the code that made them. A
file that names modules that can run programs is refused.
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from wrn_deploy.errors import DamagedFile, DeployError, missing_package

__all__ = ["HDF5", "is_npz", "read_hdf5", "read_npz", "read_pickled", "refuse_code"]

HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of an HDF5 file
MAX_FOREIGN = 64  # foreign classes in one file; each costs one more pass over its start
# A file that names these wants to run something; torch itself blocks os, posix, nt and sys.
RUNNERS = {
    *("builtins", "code", "ctypes", "importlib", "multiprocessing", "nt", "os", "posix", "pty", "runpy", "shutil"),
    *("signal", "socket", "subprocess", "sys", "threading", "webbrowser"),
}


class _StandIn:
    """Replaces an object of any foreign class: accepts any state and keeps none."""

    def __init__(self, *_args: object) -> None:
        pass

    def __new__(cls, *_args: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


def read_pickled(file: Path, stand_ins: Mapping[str, type] | None = None) -> tuple[Any, tuple[str, ...]]:
    """The contents of the file, and the classes of the objects that were ignored.

    `stand_ins` replaces objects of these classes; without it, all are replaced by one that keeps nothing.

    Raises:
        DeployError: the file is damaged, truncated, not a checkpoint, or names modules that can run programs.
    """
    foreign: list[str] = []
    while True:
        try:
            return _load(file, foreign, stand_ins or {}), tuple(foreign)
        except Exception as error:  # damage can end in any error of the unpickler
            name = _foreign_class(error)
            if name is None or name in foreign or len(foreign) == MAX_FOREIGN:
                raise _unreadable(file, error, foreign) from error
            foreign.append(name)


def refuse_code(file: Path, name: str) -> DeployError:
    """The error for a file that holds objects of the class `name` instead of tensors."""
    return DeployError(
        f"{file} holds pickled code ({name}), which is never run here: expected a state dict of tensors; load "
        "it where it was made and save model.state_dict(), best as safetensors"
    )


def _load(file: Path, foreign: list[str], stand_ins: Mapping[str, type]) -> Any:
    allowed = torch.serialization.safe_globals([(stand_ins.get(name, _StandIn), name) for name in foreign])
    # Given a path, torch would judge the file by its suffix. Its warnings are about pickles that fail here.
    with file.open("rb") as stream, warnings.catch_warnings(action="ignore"), allowed:
        return torch.load(stream, map_location="cpu", weights_only=True)


def _foreign_class(error: Exception) -> str | None:
    """The class that torch did not allow; None for any other error, and for a class that cannot be ignored."""
    named = re.search(r"Unsupported global: GLOBAL (\S+) was not", str(error))
    if named is None or "." not in named[1] or named[1].partition(".")[0] in RUNNERS:  # torch leaves "builtins." out
        return None
    return named[1]


def _unreadable(file: Path, error: Exception, foreign: list[str]) -> DeployError:
    code = re.search(r"GLOBAL (\S+)", str(error))  # how torch names what it did not run
    if code is not None:
        return refuse_code(file, code[1])
    if foreign:
        return refuse_code(file, foreign[0])
    first = ": ".join(filter(None, (type(error).__name__, re.split(r"\.\s|\n", str(error))[0])))
    return DamagedFile(
        f"{file} is damaged, truncated or not a checkpoint ({first}): expected a .safetensors or a .pth file"
    )


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
