"""Checks the header of a safetensors file strictly, before the library reads it; the standard library only."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import parse_json

__all__ = ["read_header"]

LENGTH_BYTES = 8
METADATA = "__metadata__"
# https://github.com/huggingface/safetensors: the types by name, as bits of an element.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
    "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


def read_header(file: Path) -> dict[str, str]:
    """The metadata of the file, whose header is checked: the tensors fill it, without gaps, overlaps or repeated names.

    Raises:
        DamagedFile: the file is not such a one.
        OverLimit: the header is larger than the budget allows.
        OSError: it is missing or cannot be read.
    """
    with open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if length > size - LENGTH_BYTES:
            raise _damaged(file, f"a header of {length:,} bytes in a file of {size:,}")
        budget().check("text_bytes", length, file)
        text = stream.read(length)
    try:
        header = parse_json(text.decode("utf-8"), file)
    except UnicodeDecodeError as error:
        raise _damaged(file, error) from error
    if not isinstance(header, dict):
        raise _damaged(file, "a header that is not an object")
    budget().check("parts", len(header), file)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(file, "metadata that is not text")
    place = 0
    for start, end, name in sorted(_span(name, tensor, file) for name, tensor in header.items()):
        if start != place:
            raise _damaged(file, f"{name!r} begins at {start:,}: expected {place:,}")
        place = end
    if place != size - LENGTH_BYTES - length:
        raise _damaged(file, f"tensors of {place:,} bytes, but only {size - LENGTH_BYTES - length:,} are there")
    return metadata


def _span(name: str, tensor: Any, file: Path) -> tuple[int, int, str]:
    """Where the tensor begins and ends, checked against its type and shape."""
    try:
        kind, shape, (start, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        numbers = [*shape, start, end]
        whole = len(tensor) == 3 and all(type(number) is int and number >= 0 for number in numbers)
        wanted = math.prod(shape) * BITS[kind]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"{name!r} is {str(tensor)[:100]}") from error
    if not whole or 8 * (end - start) != wanted:
        raise _damaged(file, f"{name!r} is {str(tensor)[:100]}")
    return start, end, name


def _damaged(file: Path, reason: object) -> DamagedFile:
    return DamagedFile(
        f"{file} is damaged or truncated ({reason}): expected an intact .safetensors file; copy it again"
    )
