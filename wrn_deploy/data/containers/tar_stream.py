"""Reads a tar file from front to back with `tarfile`, and checks its headers and its end; the standard library only.

At a damaged or missing header `tarfile` stops as if the archive ended there: images would be lost without an error.
It believes the sizes in headers: each is checked here before it moves, whether the member is wanted or passed over.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NoReturn, Self, cast

from wrn_deploy.data.containers.forward import ForwardStream
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import DAMAGE, name_damage

__all__ = ["Member", "is_tar", "members"]

READ_BYTES = 2**20
EXTENDED = frozenset({
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
})  # fmt: skip
EXTENDED_BYTES = 2**20  # of one, which is read whole: long names, times; and of all that apply to the whole archive
CHAIN = 16  # extended headers of one member; four are usual at most


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the archive; `read` returns its content, and works only until the next member is taken.

    `read` raises OverLimit for more than `image_bytes`.
    """

    name: str
    size_bytes: int
    read: Callable[[], bytes]


def is_tar(path: Path) -> bool:
    """Whether the file begins with the header of a tar file, also inside gzip."""
    try:
        with ForwardStream(path) as file:
            header = file.read(tarfile.BLOCKSIZE)
        return header[257:262] == b"ustar" or bool(tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape"))
    except DAMAGE:
        return False


def members(path: Path) -> Iterator[Member]:
    """Yields the regular files of the archive, which may be compressed with gzip.

    Raises:
        DamagedFile: the archive is damaged, or ends without a block of zeros; `Member.read` raises it too.
        OverLimit: it has more members, or is inflated more, than the budget allows.
    """
    with name_damage(path, "tar"), ForwardStream(path) as file:
        try:
            archive = tarfile.TarFile(
                fileobj=cast("IO[bytes]", file), mode="r", tarinfo=_header_class(path), encoding="utf-8"
            )
            while header := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # else it keeps every header
                if header.issparse() or header.size < 0:  # as its extended headers say
                    raise ValueError(f"{header.name} is a sparse file, or has a negative size")
                if header.isreg():
                    yield Member(header.name, header.size, partial(_read, path, file, header))
            raise ValueError(f"neither a header nor the end mark at byte {archive.offset}")
        except _EndMark:
            while file.read(READ_BYTES):  # up to gzip's checksum
                pass


class _EndMark(Exception):  # noqa: N818 - it is not an error
    """The block of zeros behind the last member."""


class _Header(tarfile.TarInfo):
    """A header that refuses sparse files before their maps are read."""

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise ValueError(f"{self.name} is a sparse file")

    # tarfile's own names; should it rename them, `members` refuses sparse files a little later.
    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _header_class(path: Path) -> type[_Header]:
    """The headers of one archive, which are counted."""
    count = chain = for_all = 0

    class Header(_Header):
        """Tells the end mark apart from a damaged header, which `tarfile` does not."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal count, chain, for_all
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise _EndMark
            header = super().frombuf(buf, encoding, errors)
            count += 1
            chain = chain + 1 if header.type in EXTENDED else 0
            for_all += header.size if header.type == tarfile.XGLTYPE else 0
            budget().check("members", count, path)
            if header.size < 0 or chain > CHAIN or (chain and max(header.size, for_all) > EXTENDED_BYTES):
                raise ValueError(f"header {count} has the impossible size {header.size} or belongs to a chain of them")
            return header

    return Header


def _read(path: Path, file: ForwardStream, header: tarfile.TarInfo) -> bytes:
    budget().check("image_bytes", header.size, f"{path}/{header.name}")
    with name_damage(path, "tar"):
        file.seek(header.offset_data)
        content = file.read(header.size)
        if len(content) < header.size:
            raise EOFError("unexpected end of data")
        return content
