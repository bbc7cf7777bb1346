"""A file, plain or gzip-compressed, that is read from front to back within the budget; the standard library only."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from wrn_deploy.files.budget import budget
from wrn_deploy.files.regular import open_regular

__all__ = ["ForwardStream", "is_gzip"]

READ_BYTES = 2**16
GZIP = b"\x1f\x8b"


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip's do."""
    with open_regular(path) as file:
        return file.read(2) == GZIP


class ForwardStream:
    """The content of a file, inflated if it is gzip's; it never goes back, and never reads more than is there.

    It raises EOFError or ValueError for a place before its own or behind the file's end, so that no damaged size can
    make a reader run in a circle, and OverLimit for content that is inflated beyond `ratio`.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = open_regular(path)
        self._path, self._place = path, 0
        self._size = os.fstat(self._file.fileno()).st_size
        self._inflate = zlib.decompressobj(wbits=31) if self._file.read(2) == GZIP else None
        self._file.seek(0)
        self._tail, self._waiting, self._inflated = b"", memoryview(b""), 0

    @property
    def plain_bytes(self) -> int | None:
        """The size of the content; None if it is compressed, and so not known."""
        return self._size if self._inflate is None else None

    def tell(self) -> int:
        """The place in the content."""
        return self._place

    def read(self, size: int) -> bytes:
        """The next `size` bytes of the content, or fewer at its end; takes no more memory than there is content."""
        if size < 0:
            raise ValueError(f"{size} bytes to be read")
        if self._inflate is None:
            content = self._file.read(min(size, self._size - self._place))
        else:
            parts = []
            while size and (part := self._next(size)):
                parts.append(part)
                size -= len(part)
            content = b"".join(parts)
        self._place += len(content)
        return content

    def seek(self, place: int) -> int:
        """Goes forward to a place in the content, or to its end."""
        if place < self._place:
            raise ValueError(f"something that begins at byte {place}, before byte {self._place}")
        if self._inflate is None:
            if place > self._size:
                raise EOFError(f"it ends before byte {place}")
            self._place = self._file.seek(place)
        while self._place < place and self.read(min(place - self._place, READ_BYTES)):
            pass
        return self._place

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _next(self, most: int) -> memoryview:
        """Up to `most` more bytes of the content; none at its end. zlib compares the checksum of each gzip member."""
        while not self._waiting:
            assert self._inflate is not None
            compressed, self._tail = self._tail or self._file.read(READ_BYTES), b""
            if not compressed and self._inflate.eof:
                break
            if not compressed:
                raise EOFError("it ends in the middle")
            if self._inflate.eof:  # another member, or zeros that pad
                self._tail = compressed.lstrip(b"\0")
                self._inflate = zlib.decompressobj(wbits=31) if self._tail else self._inflate
                continue
            self._waiting = memoryview(self._inflate.decompress(compressed, READ_BYTES))
            self._tail = self._inflate.unconsumed_tail or self._inflate.unused_data
            self._inflated += len(self._waiting)
            budget().check_ratio(self._inflated, self._file.tell() - len(self._tail), self._path)
        part, self._waiting = self._waiting[:most], self._waiting[most:]
        return part
