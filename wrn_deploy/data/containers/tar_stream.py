"""Goes through a tar file from front to back and takes nothing on trust; the standard library only.

The library's `tarfile` ends without a word at a damaged header, as if the archive ended there: images would be lost.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from wrn_deploy.errors import DeployError

__all__ = ["Member", "is_tar", "members"]

BLOCK = 512
NAME, SIZE, SUM, KIND, MAGIC, PREFIX = (
    *(slice(0, 100), slice(124, 136), slice(148, 156), slice(156, 157)),
    *(slice(257, 265), slice(345, 500)),
)  # of POSIX's ustar header
FILES = (b"0", b"\0", b"7")  # regular ones
LONG_NAME, LONG_LINK, OWN = b"L", b"K", b"x"  # GNU's long names, and pax's records, for the next member
WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders
LARGEST_NAME = 2**20
DAMAGED = (EOFError, OSError, ValueError, OverflowError, MemoryError, zlib.error)

# Name, size in bytes, and what reads the content; only until the next member is asked for.
Member = tuple[str, int, Callable[[], bytes]]


def is_tar(path: Path) -> bool:
    """Whether the file begins with the header of a tar file, also inside gzip."""
    try:
        with _open(path) as file:
            header = file.read(BLOCK)
        return header[257:262] == b"ustar" or (len(header) == BLOCK and _sum(header) == _octal(header[SUM]))
    except DAMAGED:
        return False


def members(path: Path) -> Iterator[Member]:
    """The regular files of the archive, which may be compressed with gzip.

    Raises:
        DeployError: it is damaged, or ends without its end mark.
    """
    with _reading(path) as file:
        told: dict[str, str] = {}
        while header := _next_header(file):
            kind, size = header[KIND], _size(header)
            if kind in (LONG_NAME, LONG_LINK, OWN):
                told |= _records(kind, _content(file, size))
                continue
            size = int(told.get("size", size))
            name = told.get("path") or _name(header)
            if "GNU.sparse.major" in told or kind == b"S":
                raise ValueError(f"{name} is a sparse file")
            told = {}
            if kind in FILES:
                yield from _member(file, name, size)
            elif kind not in WITHOUT_CONTENT:
                _skip(file, size + -size % BLOCK)
        while file.read(LARGEST_NAME):  # to where gzip has its checksum
            pass


def _member(file: IO[bytes], name: str, size: int) -> Iterator[Member]:
    """One of them; what was not read of it is skipped."""
    left = size

    def read() -> bytes:
        nonlocal left
        content = _exactly(file, left)
        left = 0
        return content

    yield name, size, read
    _skip(file, left + -size % BLOCK)


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_zipped:
            yield file
            return
        with gzip.open(file) as inflated:
            yield inflated  # type: ignore[misc]


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    try:
        with _open(path) as file:
            yield file
    except DAMAGED as error:
        raise DeployError(f"{path} is damaged ({error}): expected a whole tar file; download it again") from error


def _next_header(file: IO[bytes]) -> bytes:
    """The next header; empty at the end mark, a block of zeros."""
    at = file.tell()
    header = file.read(BLOCK)
    if len(header) < BLOCK:
        raise EOFError(f"it ends at byte {at + len(header)} without its end mark")
    if not any(header):
        return b""
    if _sum(header) != _octal(header[SUM]):
        raise ValueError(f"the header at byte {at} is damaged")
    return header


def _sum(header: bytes) -> int:
    """The bytes' sum, where the sum itself counts as spaces."""
    return sum(header) - sum(header[SUM]) + 8 * 32


def _octal(field: bytes) -> int:
    return int(field.strip(b" \0") or b"0", 8)


def _size(header: bytes) -> int:
    field = header[SIZE]
    return int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)  # GNU's, from 8 GiB


def _name(header: bytes) -> str:
    name = header[NAME].split(b"\0", 1)[0]
    prefix = header[PREFIX].split(b"\0", 1)[0] if header[MAGIC] == b"ustar\x0000" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _records(kind: bytes, content: bytes) -> dict[str, str]:
    """What is told about the next member: its name, or pax's `length key=value` lines."""
    if kind == LONG_NAME:
        return {"path": content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    found, start = {}, 0
    while kind == OWN and start < len(content):
        length, _, _ = content[start:].partition(b" ")
        end = start + int(length)
        if end <= start:
            raise ValueError("a record of length 0")
        key, _, value = content[start + len(length) + 1 : end - 1].partition(b"=")
        found[key.decode()] = value.decode("utf-8", "surrogateescape")
        start = end
    return found


def _content(file: IO[bytes], size: int) -> bytes:
    if size > LARGEST_NAME:
        raise ValueError(f"{size} bytes about one member")
    content = _exactly(file, size)
    _skip(file, -size % BLOCK)
    return content


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError("it ends in the middle of a member")
    return content


def _skip(file: IO[bytes], count: int) -> None:
    """Forward; whether the file goes so far is seen at the next header."""
    if count:
        file.seek(count, 1)
