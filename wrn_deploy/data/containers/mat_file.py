"""Reads the numeric arrays and flat structures of MATLAB's level 5 files; the standard library and numpy only.

A damaged type number makes `scipy.io.loadmat` read outside its tables, which can end the process
with SIGSEGV (scipy 1.17.1; bytes 145, 184 and 185 of a file that is not compressed).
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import name_damage
from wrn_deploy.files.regular import open_regular

__all__ = ["is_mat_file", "read_arrays", "read_structures"]

# Numbers of types as in MathWorks' "MAT-File Format", level 5, tables 1-1 and 1-3.
COMPRESSED, MATRIX = 15, 14
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC_CLASSES = range(6, 16)  # mxDOUBLE_CLASS to mxUINT64_CLASS; others are cells, structures, text, sparse
STRUCTURE_CLASS, TEXT_CLASS = 2, 4
# Of text, by type and the order of the bytes.
ENCODINGS = {
    "<": {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"},
    ">": {1: "latin-1", 2: "latin-1", 4: "utf-16-be", 16: "utf-8", 17: "utf-16-be", 18: "utf-32-be"},
}
COMPLEX = 0x0800  # one of an array's flags
READ_BYTES = 2**20
VARIABLES = 1000  # of a file, or fields of a structure: SVHN has two


def is_mat_file(path: Path) -> bool:
    """Whether the file begins as MATLAB's do, from version 5 on."""
    with open_regular(path) as file:
        return file.read(7) == b"MATLAB "


def read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic] | None]:
    """Reads all variables of a file by name, in memory as a whole; None for one that is not an array of real numbers.

    Raises:
        DeployError: the file is damaged, of another version of MATLAB's format, or does not fit in memory.
    """
    found = dict[str, npt.NDArray[np.generic] | None]()
    with _opened(path) as variables:
        for content, order in variables:
            name, value = _value(content, order)
            found[name] = value if isinstance(value, np.ndarray) else None
    return found


def read_structures(path: Path, name: str) -> list[dict[str, npt.NDArray[np.generic] | str | None]]:
    """Reads an array of structures: the fields of each by name, texts and real numbers; None for any other value.

    Raises:
        DeployError: the file is damaged, of another version, or has no such array.
    """
    with _opened(path) as variables:
        for content, order in variables:
            elements = _elements(content, order)
            (_, flags), (_, sizes), (_, found) = (next(elements) for _ in range(3))
            is_structure = struct.unpack_from(f"{order}I", flags)[0] & 0xFF == STRUCTURE_CLASS
            if is_structure and str(found, "latin-1") == name:
                count = math.prod(map(int, np.frombuffer(sizes, dtype=f"{order}u4")))
                return list(_structures(elements, order, count))
    raise DeployError(f"{path} has no structures {name!r}: expected them in this file; download it again")


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[tuple[memoryview, str]]]:
    """Gives the contents of the variables of a file, each with the order of its bytes."""
    with name_damage(path, "MAT"), open_regular(path) as file:
        header = file.read(128)
        if header.startswith((b"MATLAB 7.3", b"\x89HDF")):
            raise DeployError(f"{path} is a MAT file of version 7.3: expected version 5; save it with -v7")
        order = {b"IM": "<", b"MI": ">"}[header[126:128]]
        try:
            yield _variables(file, path, order)
        except MemoryError as error:
            raise DeployError(
                f"{path} does not fit in memory: expected room for all of its arrays, 1.6 GB for SVHN's "
                "extra_32x32.mat; use a machine with more memory, or leave this file out"
            ) from error


def _structures(
    elements: Iterator[tuple[int, memoryview]], order: str, count: int
) -> Iterator[dict[str, npt.NDArray[np.generic] | str | None]]:
    (_, width), (_, names) = (next(elements) for _ in range(2))
    (size,) = struct.unpack_from(f"{order}i", width)
    if size < 1 or len(names) // size > VARIABLES:
        raise ValueError(f"structures whose names have {size} of {len(names):,} bytes each")
    fields = [bytes(names[at : at + size]).split(b"\0")[0].decode("latin-1") for at in range(0, len(names), size)]
    if not fields:
        raise ValueError("structures without fields")
    for _ in range(count):
        yield {field: _value(next(elements)[1], order)[1] for field in fields}


def _variables(file: BinaryIO, path: Path, order: str) -> Iterator[tuple[memoryview, str]]:
    end, held, count = os.fstat(file.fileno()).st_size, 0, 0
    while file.tell() < end:
        kind, size = struct.unpack(f"{order}II", file.read(8))
        if size > end - file.tell():
            raise EOFError("it ends in the middle of a variable")
        if kind == COMPRESSED:
            most = budget().inflated_bytes(end) - held
            content = _inflated(file, size, max(0, most))
            budget().check_inflated(held + len(content), end, path)
            kind = struct.unpack_from(f"{order}I", content)[0]
            content = content[8:]
        else:
            budget().check("memory_bytes", held + size, path)
            content = memoryview(file.read(size))
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind}, not a variable")
        held, count = held + len(content), count + 1
        if count > VARIABLES:
            raise ValueError(f"more than {VARIABLES:,} variables")
        yield content, order


def _inflated(file: BinaryIO, size: int, most: int) -> memoryview:
    """Inflates the next `size` bytes; zlib compares the checksum. Stops soon behind `most` bytes of content."""
    inflate, content = zlib.decompressobj(), bytearray()
    for start in range(0, size, READ_BYTES):
        content += inflate.decompress(file.read(min(READ_BYTES, size - start)), max(0, most - len(content)) + 1)
        if inflate.unconsumed_tail:
            return memoryview(content)  # one byte more than `most`
    if not inflate.eof:
        raise EOFError("it ends in the middle of a variable")
    return memoryview(content)


def _value(content: memoryview, order: str) -> tuple[str, npt.NDArray[np.generic] | str | None]:
    """Returns the name and the value of one variable: real numbers or a text; else only its name is read."""
    elements = _elements(content, order)
    (_, flags), (_, sizes), (_, name) = (next(elements) for _ in range(3))
    (first,) = struct.unpack_from(f"{order}I", flags)
    if (first & 0xFF) not in (*NUMERIC_CLASSES, TEXT_CLASS) or first & COMPLEX:
        return str(name, "latin-1"), None
    kind, values = next(elements)
    if first & 0xFF == TEXT_CLASS:
        return str(name, "latin-1"), str(values, ENCODINGS[order][kind])
    shape = tuple(map(int, np.frombuffer(sizes, dtype=f"{order}i4")))
    return str(name, "latin-1"), np.frombuffer(values, dtype=f"{order}{TYPES[kind]}").reshape(shape, order="F")


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields type and content of each element: a tag of 8 bytes, then the content, padded to a multiple of 8 bytes.

    Up to 4 bytes may stand in the tag itself, whose size is then in the upper half of the type.
    """
    start = 0
    while True:
        (kind,) = struct.unpack_from(f"{order}I", content, start)
        if kind >> 16:
            kind, size, first, start = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            (size,) = struct.unpack_from(f"{order}I", content, start + 4)
            first, start = start + 8, start + 8 + size + -size % 8
        if first + size > len(content):
            raise EOFError("it ends in the middle of a variable")
        yield kind, content[first : first + size]
