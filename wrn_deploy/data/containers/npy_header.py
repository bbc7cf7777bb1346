"""Reads the header of an array in NumPy's format, within bounds; numpy only."""

from __future__ import annotations

from typing import IO, Any, cast

import numpy as np
from numpy.lib import format as npy_format

__all__ = ["read_npy_header"]

HEADER_BYTES = 10_000  # numpy's own limit on the description of an array, which it checks when it has read it


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Returns the shape of the array that follows, whether it is in Fortran order, and its type.

    Raises:
        ValueError: it is no such header, it is too long, or the shape is negative.
    """
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, is_column_major, dtype = npy_format.read_array_header_1_0(stream)
    else:
        length = int.from_bytes(cast("Any", stream).peek(4)[:4], "little")
        if length > HEADER_BYTES:
            raise ValueError(f"a header of {length:,} bytes")
        shape, is_column_major, dtype = npy_format.read_array_header_2_0(stream)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype} {shape}")
    return shape, is_column_major, dtype
