"""Files of a folder that change together or not at all, even if the process is killed; the standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["commit", "is_scratch", "locked", "settle", "staging"]

LOCK = ".lock"
STAGING = ".staging-"  # and a random end: the files of one step, being made
COMMIT = ".commit"  # the files of a step that is done, on their way to their places


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new folder in `folder` for the files of one step, removed when the block ends; creates `folder` if needed.

    A lock in it ends with the owner's process, so folders without one were left by killed processes and are removed
    here. Process numbers would not do: in containers each process may be number 1.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            _sweep(folder)
            staged = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
            owner = (staged / LOCK).open("w")
            fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            with owner:
                yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    finally:
        if made:
            _remove_unused(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; first finishes the commit that a killed process had begun."""
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _finish(folder)
        yield


def commit(staged: Path, folder: Path) -> None:
    """Moves all staged files to the same places in `folder`, whose lock the caller holds.

    One rename decides: a process killed before it has changed nothing; what a process killed after it has left to do is
    done by the next one that opens the folder.
    """
    staged.rename(folder / COMMIT)
    _finish(folder)


def settle(folder: Path) -> None:
    """Waits for a running commit, or finishes one whose process was killed."""
    if (folder / COMMIT).exists():
        with locked(folder):
            pass


def is_scratch(path: Path) -> bool:
    """Whether it is a lock file or folder made here."""
    return path.name in (LOCK, COMMIT) or path.name.startswith(STAGING)


def _finish(folder: Path) -> None:
    """Moves committed files to their places; what is interrupted can be done again."""
    pending = folder / COMMIT
    if not pending.is_dir():
        return
    for file in sorted(pending.rglob("*")):
        if file.is_file() and file.name != LOCK:
            target = folder / file.relative_to(pending)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    shutil.rmtree(pending)


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(OSError), (left / LOCK).open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError while the owner lives
            shutil.rmtree(left, ignore_errors=True)


def _remove_unused(folder: Path) -> None:
    """Removes a folder made for a failed step, unless another process has begun to use it."""
    with contextlib.suppress(OSError), locked(folder):
        if all(path.name == LOCK for path in folder.iterdir()):
            (folder / LOCK).unlink()
            folder.rmdir()
