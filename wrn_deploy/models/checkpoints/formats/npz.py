"""Reads weights from .npz archives of NumPy arrays; sizes are checked before memory is taken."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.formats.zip_archive import ZIP, open_zip
from wrn_deploy.files.regular import open_regular

if TYPE_CHECKING:
    from zipfile import ZipExtFile

__all__ = ["as_tensor", "is_npz", "read_npz"]

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DAMAGE = (
    ValueError, TypeError, OSError, EOFError, KeyError, SyntaxError, MemoryError, RecursionError, NotImplementedError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def is_npz(file: Path) -> bool:
    """Whether the file is an archive of NumPy arrays, and not of `torch.save`, which writes archives too."""
    try:
        with open_regular(file) as stream:
            if stream.read(len(ZIP)) != ZIP:
                return False
            with open_zip(stream, file) as archive:
                return all(name.endswith(".npy") for name in archive.namelist())
    except DamagedFile:
        return False


def read_npz(file: Path) -> dict[str, torch.Tensor]:
    """The arrays by name.

    Raises:
        DamagedFile: the file is damaged, or has arrays of anything but numbers.
        OverLimit: its arrays are too large.
    """
    found: dict[str, torch.Tensor] = {}
    try:
        with open_regular(file) as stream, open_zip(stream, file) as archive:
            for member in archive.infolist():
                found[member.filename.removesuffix(".npy")] = as_tensor(_read_array(archive, member, file))
    except DamagedFile:
        raise
    except DAMAGE as error:
        raise DamagedFile(
            f"{file} is damaged or contains more than arrays ({error}): expected an intact .npz"
        ) from error
    return found


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> npt.NDArray[Any]:
    with archive.open(member) as opened:
        content = cast("ZipExtFile", opened)
        version = np.lib.format.read_magic(content)
        if version not in HEADERS:
            raise ValueError(f"{member.filename} has version {version} of the format")
        shape, fortran, dtype = HEADERS[version](content)
        if dtype.kind not in "fiub" or min(shape, default=0) < 0:
            raise ValueError(f"{member.filename} has {dtype} of shape {shape}: expected numbers")
        size, there = math.prod(shape) * dtype.itemsize, member.file_size - content.tell()
        if size != there:
            raise ValueError(f"{member.filename} needs {size:,} bytes and has {there:,}")
        budget().check("memory_bytes", size, file)
        array = np.empty(math.prod(shape), dtype)
        rest = array.view(np.uint8).data
        while rest.nbytes:
            count = content.readinto(rest)
            if not count:
                raise EOFError(f"{member.filename} ends early")
            rest = rest[count:]
    return array.reshape(shape[::-1]).transpose() if fortran else array.reshape(shape)


def as_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """A tensor with a copy of the array, in this machine's byte order; raises TypeError for a type that torch lacks."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
