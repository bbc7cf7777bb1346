"""Reads a tar file from front to back with `tarfile`, and checks its end; the standard library only.

At a damaged or missing header `tarfile` stops as if the archive ended there: images would be lost without an error.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from wrn_deploy.data.containers import name_damage, open_inflated

__all__ = ["Member", "is_tar", "members"]

READ_BYTES = 2**20
DAMAGED = (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError, RecursionError, zlib.error)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the archive; `read` returns its content, and works only until the next member is taken."""

    name: str
    size_bytes: int
    read: Callable[[], bytes]


def is_tar(path: Path) -> bool:
    """Whether the file begins with the header of a tar file, also inside gzip."""
    try:
        with open_inflated(path) as file:
            header = file.read(tarfile.BLOCKSIZE)
        return header[257:262] == b"ustar" or bool(tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape"))
    except DAMAGED:
        return False


def members(path: Path) -> Iterator[Member]:
    """Yields the regular files of the archive, which may be compressed with gzip.

    Raises:
        DamagedFile: the archive is damaged, or ends without a block of zeros; `Member.read` raises it too.
    """
    with name_damage(path, "tar", DAMAGED), open_inflated(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header, encoding="utf-8") as archive:
                while header := archive.next():
                    archive.members = []  # type: ignore[attr-defined]  # else it keeps every header
                    if header.issparse() or header.size < 0:
                        raise ValueError(f"{header.name} is a sparse file, or has a negative size")
                    if header.isreg():
                        yield Member(header.name, header.size, partial(_read, path, archive, header))
                raise ValueError(f"neither a header nor the end mark at byte {archive.offset}")
        except _EndMark:
            while file.read(READ_BYTES):  # up to gzip's checksum
                pass


class _EndMark(Exception):  # noqa: N818 - it is not an error
    """The block of zeros behind the last member."""


class _Header(tarfile.TarInfo):
    """A header that tells the end mark apart from a damaged header, which `tarfile` does not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            raise _EndMark
        return super().frombuf(buf, encoding, errors)


def _read(path: Path, archive: tarfile.TarFile, header: tarfile.TarInfo) -> bytes:
    with name_damage(path, "tar", DAMAGED):
        content = archive.extractfile(header)
        assert content is not None, header  # it is a regular file
        return content.read()
