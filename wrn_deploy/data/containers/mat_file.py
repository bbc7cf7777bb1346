"""Reads the numeric arrays of MATLAB's level 5 files as a stream; the standard library and numpy only."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DeployError

__all__ = ["MatArray", "is_mat_file", "list_arrays", "read_values"]

# Numbers of types as in MathWorks' "MAT-File Format", level 5, tables 1-1 and 1-3.
COMPRESSED, MATRIX = 15, 14
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC_CLASSES = range(6, 16)  # mxDOUBLE_CLASS to mxUINT64_CLASS; others are cells, structures, text, sparse
BLOCK = 2**16


@dataclass(frozen=True, slots=True)
class MatArray:
    """One variable of a file: values of `dtype` in column-major order; None: it is no array of real numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    start: int

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


def is_mat_file(path: Path) -> bool:
    """Whether the file begins as MATLAB's do, from version 5 on."""
    try:
        with path.open("rb") as file:
            return file.read(7) == b"MATLAB "
    except OSError:
        return False


def list_arrays(path: Path) -> list[MatArray]:
    """The variables of a file; their values are neither read nor inflated.

    Raises:
        DeployError: the file is damaged, or of another version of MATLAB's format.
    """
    found = []
    with _reading(path) as (file, order):
        while start := _next_element(file):
            content = _Content(file, order)
            found.append(_header(content, order, start))
            content.skip_rest()
    return found


def read_values(path: Path, array: MatArray, count: int) -> Iterator[npt.NDArray[np.generic]]:
    """The values of an array in file order, `count` at a time; at the end the file's checksum is compared.

    Raises:
        DeployError: the file is damaged.
    """
    assert array.dtype is not None, array
    with _reading(path) as (file, order):
        file.seek(array.start)
        content = _Content(file, order)
        _header(content, order, array.start)
        left = array.size
        while left:
            taken = min(count, left)
            yield np.frombuffer(content.read(taken * array.dtype.itemsize), dtype=array.dtype)
            left -= taken
        content.check_end()


@contextmanager
def _reading(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """The file behind its header, and the order of its bytes, as `struct` names it."""
    try:
        with path.open("rb") as file:
            header = file.read(128)
            if header.startswith(b"MATLAB 7.3") or header[:4] == b"\x89HDF":
                raise DeployError(f"{path} is a MAT file of version 7.3: expected version 5; save it with -v7")
            yield file, {b"IM": "<", b"MI": ">"}[header[126:128]]
    except (EOFError, KeyError, OSError, ValueError, OverflowError, struct.error, zlib.error, MemoryError) as error:
        raise DeployError(f"{path} is damaged ({error}): expected a whole MAT file; download it again") from error


def _next_element(file: BinaryIO) -> int:
    """Where the next variable starts; 0 at the end of the file."""
    start = file.tell()
    if not file.read(1):
        return 0
    file.seek(start)
    return start


class _Content:
    """The bytes of one variable, inflated where they are compressed."""

    def __init__(self, file: BinaryIO, order: str) -> None:
        self._file = file
        head = file.read(8)
        kind, self._left = struct.unpack(f"{order}II", head)
        self._end = file.tell() + self._left
        if kind not in (COMPRESSED, MATRIX):
            raise ValueError(f"an element of type {kind} where a variable should be")
        self._inflate = zlib.decompressobj() if kind == COMPRESSED else None
        self._tail = b""

    def enter(self, order: str) -> None:
        """Goes behind the tag of the variable, which is inside of what is compressed."""
        if self._inflate is not None and struct.unpack(f"{order}II", self.read(8))[0] != MATRIX:
            raise ValueError("something compressed that is no variable")

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; EOFError if there are fewer."""
        parts = []
        while count:
            part = self._some(count)
            if not part:
                raise EOFError("it ends in the middle of a variable")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def skip_rest(self) -> None:
        """To the end of the variable; EOFError if the file ends before."""
        self._file.seek(0, 2)
        if self._file.tell() < self._end:
            raise EOFError("it ends in the middle of a variable")
        self._file.seek(self._end)

    def check_end(self) -> None:
        """Reads what is left; zlib.error if the sum of what was inflated is wrong."""
        if self._inflate is not None:
            while self._some(BLOCK):
                pass
            if not self._inflate.eof:
                raise EOFError("it ends in the middle of a variable")

    def _some(self, count: int) -> bytes:
        """Up to so many bytes; none at the end."""
        if self._inflate is None:
            return self._raw(count)
        while not self._inflate.eof:
            self._tail = self._tail or self._raw(BLOCK)
            was_last = not self._tail  # what zlib still holds comes without any
            part = self._inflate.decompress(self._tail, count)
            self._tail = self._inflate.unconsumed_tail
            if part or was_last:
                return part
        return b""

    def _raw(self, count: int) -> bytes:
        part = self._file.read(min(count, self._left))
        self._left -= len(part)
        return part


def _header(content: _Content, order: str, start: int) -> MatArray:
    """Reads up to the first value."""
    content.enter(order)
    flags = struct.unpack(f"{order}II", _element(content, order))[0]
    shape = np.frombuffer(_element(content, order), dtype=f"{order}i4")
    name = _element(content, order).decode("latin-1")
    is_real = (flags & 0xFF) in NUMERIC_CLASSES and not flags & 0x0800
    if not is_real or not len(shape) or shape.min() < 0:
        return MatArray(name, tuple(map(int, shape)), None, start)
    kind, size, _ = _tag(content, order)
    dtype = np.dtype(f"{order}{TYPES[kind]}") if kind in TYPES else None
    if dtype is None or size != math.prod(map(int, shape)) * dtype.itemsize:
        raise ValueError(f"{name} has {size} bytes of type {kind} for the shape {tuple(map(int, shape))}")
    return MatArray(name, tuple(map(int, shape)), dtype, start)


def _element(content: _Content, order: str) -> bytes:
    kind, size, is_small = _tag(content, order)
    if size > BLOCK:
        raise ValueError(f"{size} bytes of type {kind} in the header of a variable")
    found = content.read(size)
    content.read((4 if is_small else 8) * -(-size // (4 if is_small else 8)) - size)  # filled up
    return found


def _tag(content: _Content, order: str) -> tuple[int, int, bool]:
    """Type and size; up to four bytes stand right behind a tag that is half as long."""
    first = struct.unpack(f"{order}I", content.read(4))[0]
    if first >> 16:
        return first & 0xFFFF, first >> 16, True
    return first, struct.unpack(f"{order}I", content.read(4))[0], False
