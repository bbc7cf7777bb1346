"""Files of a folder that change together or not at all, through kills and power loss; the standard library only.

The folder may come from a stranger, so no name in it is trusted: no link is followed, nothing is truncated, every move
is relative to an open folder, and a `.commit` counts only if this machine's own transaction made it in this place: its
record holds the inode numbers of both folders, which nobody can know before the folders exist.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.regular import open_regular

__all__ = ["commit", "is_scratch", "locked", "pending_commit", "remove_lock", "staging"]

LOCK = ".lock"
STAGING = ".staging-"  # and a random end: the files of one step, being made
COMMIT = ".commit"  # the files of a step that is done, on their way to their places
RECORD = ".record"  # in it: proves that a transaction here made it
NEW_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new folder in `folder` for the files of one step, removed when the block ends; creates `folder` if needed.

    A lock in it ends with the owner's process, so folders without one were left by killed processes and are removed
    here. Process numbers would not do: in containers each process may be number 1.

    Raises:
        DamagedFile: a name that this program uses in the folder is a link, a FIFO or the like.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            _sweep(folder)
            staged = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
            owner = _open_lock(staged)
            fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            yield staged
        finally:
            os.close(owner)
            shutil.rmtree(staged, ignore_errors=True)
    finally:
        if made:
            _remove_unused(folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, and warns if it has to wait; first finishes the commit that a killed process had begun.

    Raises:
        DamagedFile: the lock is a link, a FIFO or the like, or `.commit` was not made here.
    """
    lock = _take_lock(folder)
    try:
        _finish(folder)
        yield
    finally:
        os.close(lock)


def commit(staged: Path, folder: Path, *, last: str | None = None) -> None:
    """Moves all staged files to the same places in `folder`, whose lock the caller holds.

    One rename decides: a process killed before it has changed nothing; what a process killed after it has left to do is
    done by the next one that writes to the folder. All content is on disk before that rename, and the rename before the
    moves, so that a loss of power does the same as a kill.

    Args:
        staged: what `staging` gave.
        folder: its folder.
        last: the file that describes the others: readers take the state in `.commit` as long as it is there.
    """
    _check_places(_files(staged), folder)
    inodes = {"folder": folder.stat().st_ino, "commit": staged.stat().st_ino, "last": last}
    (staged / RECORD).write_text(json.dumps(inodes), encoding="ascii")
    for path in sorted(staged.rglob("*"), reverse=True):
        if not path.is_symlink():  # a link is an entry of its folder
            _flush(path)
    _flush(staged)
    staged.rename(folder / COMMIT)
    _flush(folder)
    _finish(folder)


def remove_lock(folder: Path) -> None:
    """Removes the folder's lock, from a folder that is handed on and not written to again and again as a bundle is."""
    with locked(folder):
        (folder / LOCK).unlink()


def pending_commit(folder: Path) -> Path | None:
    """The files of an unfinished commit, each of which replaces the one in its place; None: there is none.

    Changes nothing. A `.commit` that a transaction here did not make is none.
    """
    try:
        _record(folder)
    except (OSError, DeployError):
        return None
    return folder / COMMIT


def is_scratch(path: Path) -> bool:
    """Whether it is a lock file or folder made here."""
    return path.name in (LOCK, COMMIT) or path.name.startswith(STAGING)


def _record(folder: Path) -> str | None:
    """The `last` of the commit in the folder, whose files are ours to move.

    Raises:
        DamagedFile: a transaction here did not make it.
        FileNotFoundError: there is none.
    """
    pending = folder / COMMIT
    found = os.lstat(pending)
    try:
        with open_regular(f"{COMMIT}/{RECORD}", inside=folder) as stream:
            record = json.loads(stream.read(4096))
        ours = (record["folder"], record["commit"]) == (folder.stat().st_ino, found.st_ino)
        last = record["last"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, DamagedFile):
        ours, last = False, None
    if not ours or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise DamagedFile(
            f"{pending} was not made by a command of this user in this folder: expected an unfinished step; it "
            "is left unchanged and nothing is written to this folder; remove it if you trust the other files"
        )
    return None if last is None else str(last)


def _finish(folder: Path) -> None:
    """Moves committed files to their places; what is interrupted can be done again."""
    try:
        last = _record(folder)
    except FileNotFoundError:
        return
    pending = folder / COMMIT
    for path in sorted(_files(pending), key=lambda path: (str(path) == last, path)):
        _move(path, pending, folder)
    _flush(folder)
    # A kill while the rest is removed must not leave a `.commit` without its record.
    done = folder / f"{STAGING}{os.urandom(8).hex()}"
    pending.rename(done)
    shutil.rmtree(done, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    """The staged files in a folder, relative to it."""
    found = [path for path in folder.rglob("*") if path.name not in (LOCK, RECORD)]
    return [path.relative_to(folder) for path in found if path.is_symlink() or not path.is_dir()]


def _move(path: Path, source: Path, target: Path) -> None:
    """Renames `source`/`path` to `target`/`path`, and makes its folders; follows no link in either."""
    with contextlib.ExitStack() as opened:
        here, there = (_enter(folder, None, opened) for folder in (source, target))
        for part in path.parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=there)
            here, there = _enter(part, here, opened), _enter(part, there, opened)
        os.rename(path.name, path.name, src_dir_fd=here, dst_dir_fd=there)
        if len(path.parts) > 1:
            os.fsync(there)


def _enter(folder: Path | str, within: int | None, opened: contextlib.ExitStack) -> int:
    """Opens a folder; `within` an open one, it must not be a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if within is not None else 0)
    entered = os.open(folder, flags, dir_fd=within)
    opened.callback(os.close, entered)
    return entered


def _check_places(paths: Sequence[Path], folder: Path) -> None:
    """Checks that files can be moved to their places in the folder."""
    for path in paths:
        for parent in [*path.parents][:-1]:
            place = folder / parent
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise DamagedFile(
                    f"{place} is a link or a file: expected a folder; remove it, or choose another folder"
                )


def _take_lock(folder: Path) -> int:
    """Opens the folder's lock and holds it; a lock that its last holder removed is none."""
    while True:
        lock = _open_lock(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warnings.warn(f"waiting for another process, which holds {folder / LOCK}", RuntimeWarning, stacklevel=4)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink == 1:
            return lock
        os.close(lock)


def _open_lock(folder: Path) -> int:
    """Opens the folder's lock, which is made if missing; never changes a file that is there."""
    lock = folder / LOCK
    try:
        opened = os.open(lock, NEW_LOCK, 0o666)
    except OSError as error:
        if lock.is_symlink() or (lock.exists() and not lock.is_file()):
            raise DamagedFile(f"{lock} is not a regular file: expected an empty lock file; remove it") from error
        raise
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode) or found.st_size or found.st_nlink != 1:
        os.close(opened)
        raise DamagedFile(f"{lock} is not empty, or has other links: expected an empty lock file; remove it")
    return opened


def _flush(path: Path) -> None:
    """Writes a file's content, or a folder's entries, to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sweep(folder: Path) -> None:
    """Removes the staged files of killed processes; a living owner holds the lock."""
    for left in folder.glob(f"{STAGING}*"):
        with contextlib.suppress(OSError, DamagedFile):
            found = os.lstat(left)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            owner = _open_lock(left)
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError while the owner lives
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(owner)


def _remove_unused(folder: Path) -> None:
    """Removes a folder made for a failed step, unless another process has begun to use it."""
    with contextlib.suppress(OSError), locked(folder):
        if all(path.name == LOCK for path in folder.iterdir()):
            (folder / LOCK).unlink()
            folder.rmdir()
