"""Writes a file whole or not at all, under a random name until it is whole; the standard library only."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wrn_deploy.errors import DeployError

__all__ = ["check_target", "new_file", "remove_leftovers", "write_whole"]

PREFIX, SUFFIX = ".new-", ".tmp"  # of a file that is being written, around a random number


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `target` when the block ends without an error; else it is removed.

    Until then it is in the target's folder under a random name, and it must be new: a link that somebody has put there
    is not followed. A `target` that is a link is replaced, and what it points to stays as it is. The new file has the
    mode of any new file, not that of the one it replaces.

    Raises:
        DeployError: `target` is a folder, a device, a pipe, a socket, or a link as /dev/stdout is.
        OSError: the file cannot be written; its `filename` is the target.
    """
    check_target(target)
    written = target.with_name(f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")
    try:
        with written.open("xb") as stream:
            yield stream
        written.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            written.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(written)):
            error.filename = str(target)
        raise


def write_whole(target: Path, content: bytes | str) -> None:
    """Writes `target` as `new_file` does; a text in UTF-8, its line breaks as they are."""
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    with new_file(target) as stream:
        stream.write(data)


def check_target(target: Path) -> None:
    """Checks that a file can take the place of `target`.

    Raises:
        DeployError: it is a folder, a device, a pipe, a socket, or a link as /dev/stdout is.
    """
    if target.is_symlink() and target.readlink().is_relative_to("/proc"):
        kind = "a link to an open file"  # as /dev/stdout is, which must stay one
    elif target.is_dir():
        kind = "a folder"
    else:
        kind = "a device, a pipe or a socket" if target.exists() and not target.is_file() else ""
    if kind:
        raise DeployError(f"{target} is {kind}: expected a path for a file; choose another one")


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes were writing into `folder`, which belongs to the caller alone."""
    for left in folder.glob(f"{PREFIX}*{SUFFIX}"):
        left.unlink(missing_ok=True)
