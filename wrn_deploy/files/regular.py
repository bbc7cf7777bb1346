"""Opens files from outside: regular files alone, never a FIFO, a device or a socket; the standard library only."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from wrn_deploy.errors import DamagedFile

__all__ = ["open_regular"]

KINDS = {
    stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link",
}  # fmt: skip


def open_regular(path: Path | str, *, inside: Path | str | None = None) -> BufferedReader:
    """Opens a regular file for reading, without waiting for a FIFO's writer and without touching a device.

    Args:
        path: the file; its links are followed, as it is the user's own word.
        inside: a folder from outside that `path` is relative to. No part of `path` may be a link then, or lead out.

    Raises:
        DamagedFile: it is not a regular file, or lies behind a link or outside of `inside`.
        OSError: it is missing or cannot be read.
    """
    if inside is None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        return _regular(os.open(path, flags), Path(path))
    return _open_inside(Path(inside), Path(path))


def _open_inside(folder: Path, path: Path) -> BufferedReader:
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DamagedFile(f"{str(path)!r} is outside {folder}: expected a path within it; do not trust the folder")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for index, part in enumerate(path.parts):
            last = index == len(path.parts) - 1
            _refuse_link(part, here, folder / path)
            opened = os.open(part, flags if last else flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = opened
        return _regular(os.dup(here), folder / path)
    finally:
        os.close(here)


def _refuse_link(name: str, folder: int, path: Path) -> None:
    """Names the link; O_NOFOLLOW would only say that there are too many."""
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise DamagedFile(
            f"{path} is a link or is inside one ({name}): expected the file itself; links are not followed here"
        )


def _regular(descriptor: int, path: Path) -> BufferedReader:
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise DamagedFile(f"{path} is {KINDS.get(kind, 'not a regular file')}: expected a regular file")
    return open(descriptor, "rb")
