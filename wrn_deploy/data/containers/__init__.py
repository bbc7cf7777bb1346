"""Readers of the files that hold many images or their labels; each names a damaged file."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from wrn_deploy.errors import DamagedFile

__all__ = ["is_gzip", "name_damage", "open_inflated"]


@contextmanager
def name_damage(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns `errors`, which reading a damaged file of this kind raises, into DamagedFile."""
    try:
        yield
    except errors as error:
        raise DamagedFile(f"{path} is damaged ({error}): expected a whole {kind} file; download it again") from error


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip's do."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_inflated(path: Path) -> IO[bytes]:
    """Opens a plain or gzip-compressed file for reading."""
    return cast("IO[bytes]", gzip.open(path)) if is_gzip(path) else path.open("rb")
