"""Reads and checks the description of a NumPy array in a stream, before the array itself is read; numpy only."""

from __future__ import annotations

import io
import math
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from wrn_deploy.files.budget import budget

__all__ = ["check_array", "read_npy_header"]

MAGIC_BYTES = 8  # with the version, which says how many bytes give the length of the header
HEADER_BYTES = 10_000  # numpy's own limit, which it checks when it has read the header


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Returns the shape of the array that follows, whether it is in Fortran order, and its type.

    Raises:
        ValueError: it is damaged, or its header is longer than numpy reads.
        EOFError: it ends in its header.
    """
    magic = stream.read(MAGIC_BYTES)
    version = npy_format.read_magic(io.BytesIO(magic))
    length = stream.read(2 if version == (1, 0) else 4)
    size = int.from_bytes(length, "little")
    if size > HEADER_BYTES:
        raise ValueError(f"a header of {size:,} bytes")
    header = io.BytesIO(length + stream.read(size))
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, column_major, dtype = read(header)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    return shape, column_major, dtype


def check_array(shape: tuple[int, ...], dtype: np.dtype[np.generic], left: int, what: object) -> int:
    """Returns the bytes of an array that is read into memory, of which `left` bytes can be there.

    Raises:
        EOFError: it is larger than what is left of its file.
        OverLimit: it is larger than the budget allows.
    """
    size = math.prod(shape) * dtype.itemsize
    if size > left:
        raise EOFError(f"it ends in an array of {size:,} bytes")
    budget().check("memory_bytes", size, what)
    return size
