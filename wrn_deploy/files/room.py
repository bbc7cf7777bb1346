"""Checks before the work that results can be written to a folder and fit on the disk; the standard library only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from wrn_deploy.errors import DeployError
from wrn_deploy.formatting import file_size

__all__ = ["check_room", "check_writable"]

SLACK = 2**20  # bytes for manifests, tables and what a file system keeps of its own


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Checks that `folder`, which need not exist, can be written to and has room for `needed_bytes`; makes nothing.

    Args:
        folder: where the results go.
        needed_bytes: about their size; the files that they replace stay until all are written.
        what: what they are, as in "the bundle".

    Raises:
        DeployError: it is a file, cannot be written to, or the disk has no such room.
    """
    there = check_writable(folder, what)
    disk, needed = shutil.disk_usage(there), needed_bytes + SLACK
    if disk.total and disk.free < needed:  # some file systems, as those of user space, do not say their size
        raise DeployError(
            f"disk full: {what} needs about {file_size(needed)}, {file_size(disk.free)} free at {there}: free some "
            "space, or choose another --out"
        )


def check_writable(folder: Path, what: str) -> Path:
    """The folder, or the nearest one above it that exists, which can be written to; raises as `check_room` does."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        kind = "a folder that cannot be written to" if there.is_dir() else "a file"
        raise DeployError(f"{there} is {kind}: expected a folder for {what}; choose another --out")
    return there
