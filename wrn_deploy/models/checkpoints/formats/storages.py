"""Checks files of `torch.save` before torch reads them: archive, pickles, storages; and the tensors after it has.

Torch takes the size of a storage from the pickle and reads as far, even beyond the bytes that are there; and a tensor
may be a view that repeats its storage any number of times. Both of torch's formats are covered: the archive, and the
one before it, which is several pickles and then the storages. The one before that, a tar archive, is refused.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.formats.pickle_check import check_pickle
from wrn_deploy.files.formats.zip_archive import ZIP, open_zip

__all__ = ["check_storages", "check_tensors"]

EXPECTED = "expected an intact file; copy it again"
PICKLE = "data.pkl"
BYTE_ORDER = b"little"
BLOCK = 512  # bytes of a member's header in a tar archive
# Bytes of an element by the class that the pickle names.
ELEMENT_BYTES = {
    "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "ShortStorage": 2, "IntStorage": 4, "LongStorage": 8,
    "HalfStorage": 2, "BFloat16Storage": 2, "FloatStorage": 4, "DoubleStorage": 8, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16, "QUInt8Storage": 1, "QInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1, "UntypedStorage": 1,
}  # fmt: skip


def check_storages(stream: BinaryIO, file: Path) -> None:
    """Checks the file before torch loads it.

    Raises:
        DamagedFile: it is damaged, or its pickle says that a storage is larger than it is.
        OverLimit: it needs more than the budget allows.
    """
    stream.seek(0)
    if stream.read(len(ZIP)) == ZIP:
        _check_archive(stream, file)
    else:
        _check_pickles(stream, file)


def check_tensors(loaded: Any, file: Path) -> None:
    """Checks that the tensors in what was loaded are in proportion to the bytes that they are views of.

    Raises:
        OverLimit: they repeat their storages too often.
    """
    storages, shown = dict[int, int](), 0
    seen, waiting = set[int](), [loaded]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.layout is torch.strided and not value.is_meta:
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
                shown += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
    budget().check_inflated(shown, sum(storages.values()), file)


def _check_archive(stream: BinaryIO, file: Path) -> None:
    with open_zip(stream, file) as archive:
        members = archive.infolist()
        top = members[0].filename.partition("/")[0].lower()
        # Torch finds members whatever their case.
        sizes = {member.filename.lower(): member.file_size for member in members}
        by_name = {member.filename.lower(): member for member in members}
        if f"{top}/{PICKLE}" not in by_name:
            raise DamagedFile(f"{file} is an archive without {PICKLE}: {EXPECTED}")
        try:
            budget().check("text_bytes", sizes[f"{top}/{PICKLE}"], file)
            order = by_name.get(f"{top}/byteorder")
            if order is not None and archive.read(order) != BYTE_ORDER:
                raise DamagedFile(
                    f"{file} is of a machine with another byte order: expected one of its own; save it again"
                )
            content = io.BytesIO(archive.read(by_name[f"{top}/{PICKLE}"]))
        except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DamagedFile(f"{file} is damaged ({error}): {EXPECTED}") from error
    for key, size in _storages(content, len(content.getbuffer()), file).items():
        there = sizes.get(f"{top}/data/{key}".lower())
        if there is None or size > there:
            raise DamagedFile(
                f"{file} is damaged: storage {key!r} needs {size:,} bytes and has {there or 0:,}: {EXPECTED}"
            )


def _check_pickles(stream: BinaryIO, file: Path) -> None:
    """Checks the old format: a number, a version, the machine's sizes, the tensors, and the storages' keys."""
    size = os.fstat(stream.fileno()).st_size
    stream.seek(0)
    _refuse_tar(stream.read(BLOCK), file)
    stream.seek(0)
    start = _Inert.of(stream, size, file)
    if start != torch.serialization.MAGIC_NUMBER:
        return  # a pickle of something else, which torch refuses
    for _ in range(2):
        _Inert.of(stream, size - stream.tell(), file)
    needed = sum(_storages(stream, size - stream.tell(), file).values())
    if needed > size:
        raise DamagedFile(f"{file} is damaged: its storages need {needed:,} bytes, and it has {size:,}: {EXPECTED}")
    _Inert.of(stream, size - stream.tell(), file)


def _refuse_tar(start: bytes, file: Path) -> None:
    try:
        tarfile.TarInfo.frombuf(start, "ascii", "surrogateescape")
    except tarfile.HeaderError:
        return
    raise DamagedFile(
        f"{file} is a tar archive, as torch wrote them before version 0.1.10: expected a newer file; load it where it "
        "was made and save model.state_dict(), best as safetensors"
    )


def _storages(stream: BinaryIO, size: int, file: Path) -> dict[str, int]:
    """The bytes of each storage that the pickle names, by key."""
    start = stream.tell()
    check_pickle(stream, size, file)
    end = stream.tell()
    stream.seek(start)
    unpickler = _Unpickler(stream)
    _unpickle(unpickler, file)
    stream.seek(end)
    return unpickler.storages


def _unpickle(unpickler: pickle.Unpickler, file: Path) -> Any:
    try:
        return unpickler.load()
    except DamagedFile:
        raise
    except Exception as error:  # damage can end in any error of the unpickler
        raise DamagedFile(f"{file} is damaged ({type(error).__name__}: {error}): {EXPECTED}") from error


class _Inert:
    """Stands for every class, function and object that a pickle names, and does nothing."""

    def __new__(cls, *_args: object, **_named: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None:
        pass

    def __call__(self, *_args: object) -> _Inert:
        return self

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _value: object) -> None:
        pass

    extend = add = append

    @staticmethod
    def of(stream: BinaryIO, size: int, file: Path) -> Any:
        """The value of the next pickle, with inert objects in it."""
        start = stream.tell()
        check_pickle(stream, size, file)
        end = stream.tell()
        stream.seek(start)
        value = _unpickle(_Unpickler(stream), file)
        stream.seek(end)
        return value


class _Unpickler(pickle.Unpickler):
    """Unpickles with inert objects, to learn the sizes of the storages."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="utf-8", errors="surrogateescape")
        self.storages = collections.defaultdict[str, int](int)

    def find_class(self, _module: str, name: str) -> Any:
        return type(name, (_Inert,), {}) if name in ELEMENT_BYTES else _Inert

    def persistent_load(self, described: Any) -> Any:
        """Notes a storage: ("storage", class, key, location, elements), and in the old format its view.

        The old format has modules, too: ("module", class, file, source).
        """
        if isinstance(described, tuple) and described[:1] == ("module",):
            return _Inert
        try:
            what, kind, key, _, elements = described[:5]
            element_bytes = ELEMENT_BYTES[kind.__name__]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise pickle.UnpicklingError(f"an object of another file, {described!r:.100}") from error
        if what != "storage" or not isinstance(key, str) or not isinstance(elements, int) or elements < 0:
            raise pickle.UnpicklingError(f"the storage {described!r:.100}")
        self.storages[key] = max(self.storages[key], elements * element_bytes)
        return _Inert()
