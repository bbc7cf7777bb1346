"""A record and arrays in one .npz, without pickle: equal bytes for equal content, read within the budget."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from wrn_deploy.data.containers.npy_header import check_array, read_npy_header
from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import DAMAGE
from wrn_deploy.files.formats.zip_archive import open_zip
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import parse_json

__all__ = ["Array", "check_shape", "pack_arrays", "read_arrays", "read_record"]

RECORD, SUFFIX = "record.json", ".npy"
KINDS = "biuf"  # booleans, integers and floats: nothing that needs pickle
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a .zip can have: equal content makes equal bytes
FASTEST = 1  # of deflate's levels: histograms are mostly zeros, and shrink at any

Array = npt.NDArray[Any]


def pack_arrays(record: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Returns the content of a file with a record of JSON types and arrays of numbers."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        _add(archive, RECORD, json.dumps(record).encode())
        for name, array in arrays.items():
            stored = io.BytesIO()
            npy_format.write_array(stored, np.ascontiguousarray(array), allow_pickle=False)
            _add(archive, name + SUFFIX, stored.getbuffer())
    return content.getvalue()


def read_arrays(source: Path | bytes, name: object = "") -> tuple[dict[str, Any], dict[str, Array]]:
    """Reads the record and the arrays of a file, or of its content, which `name` then names in errors.

    Raises:
        DamagedFile: it is missing, damaged, or not such a file.
        OverLimit: it needs more than the budget allows.
    """
    with _opened(source, name or source) as archive:
        members = [member for member in archive.infolist() if member.filename != RECORD]
        arrays = {
            member.filename.removesuffix(SUFFIX): _read_array(archive, member, name or source) for member in members
        }
        return _read_record(archive, name or source), arrays


def read_record(source: Path | bytes, name: object = "") -> dict[str, Any]:
    """Reads the record alone; raises as `read_arrays` does."""
    with _opened(source, name or source) as archive:
        return _read_record(archive, name or source)


def check_shape(arrays: Mapping[str, Array], name: str, dtype: Any, shape: tuple[int | None, ...]) -> Array:
    """Returns an array that must have this type and shape; None: any length.

    Raises:
        DamagedFile: it is missing, or another.
    """
    found = arrays.get(name)
    if found is None:
        raise DamagedFile(f"the array {name!r} is missing")
    fits = len(found.shape) == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, found.shape, strict=True)
    )
    if found.dtype != np.dtype(dtype) or not fits:
        expected = ", ".join("N" if length is None else str(length) for length in shape)
        raise DamagedFile(f"the array {name!r} is {found.dtype} {found.shape}: expected {np.dtype(dtype)} ({expected})")
    return found


def _add(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED, FASTEST)


@contextlib.contextmanager
def _opened(source: Path | bytes, name: object) -> Iterator[zipfile.ZipFile]:
    """The archive; what reading it raises becomes an error that names it."""
    try:
        with (
            io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as stream,
            open_zip(stream, name) as archive,
        ):
            yield archive
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or error
        raise DamagedFile(f"{name} cannot be read ({reason}): expected a shard file; run its shard again") from error


def _read_record(archive: zipfile.ZipFile, name: object) -> dict[str, Any]:
    budget().check("text_bytes", archive.getinfo(RECORD).file_size, name)
    return dict(parse_json(archive.read(RECORD).decode("utf-8"), f"the record of {name}"))


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: object) -> Array:
    with archive.open(member) as stream:
        shape, column_major, dtype = read_npy_header(stream)
        if dtype.kind not in KINDS or column_major:
            raise ValueError(f"{member.filename} has the type {dtype}, or is in Fortran order")
        size = check_array(shape, dtype, member.file_size, name)
        content = stream.read(size + 1)  # to its end, where the checksum is compared
        if len(content) != size:
            raise ValueError(f"{member.filename} has {len(content):,} bytes: expected {size:,}")
    return np.ndarray(shape, dtype, content)
