"""Temporary folders and files, and the removal of those that killed processes left; the standard library only.

A folder is named at random, belongs to its user alone and is locked by its owner, whose lock ends with its process,
even a killed one. So an unlocked folder was left behind, and the next process of the same user removes it. Process
numbers would not do: in containers each process may be number 1.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wrn_deploy.errors import DeployError

__all__ = ["full_is_named", "open_scratch_file", "scratch_folder", "sweep_temporary"]

PREFIX = "wrn-deploy-scratch-"
NAME = re.compile(rf"\.?{PREFIX}[a-z0-9_]{{8}}")  # as tempfile.mkdtemp ends names
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM_BYTES = 2**20  # a folder that does not take these is full
ELSEWHERE = "or set TMPDIR to another folder"


@contextlib.contextmanager
def scratch_folder(within: Path | None = None) -> Iterator[Path]:
    """A new folder in TMPDIR, or a hidden one in `within`; it is removed when the block ends.

    Folders that killed processes left in the same place are removed first.

    Raises:
        DeployError: TMPDIR is missing, cannot be written to, or fills up during the block.
    """
    place = within or _temporary()
    _sweep(place)
    folder, lock = _make(place, f".{PREFIX}") if within is not None else _make_temporary(place)
    try:
        with full_is_named(folder) if within is None else contextlib.nullcontext():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def open_scratch_file() -> IO[bytes]:
    """A new file in TMPDIR that has no name, and so ends with its process; raises as `scratch_folder` does."""
    place = _temporary()
    try:
        return tempfile.TemporaryFile(dir=place)
    except OSError as error:
        raise _unusable(place, error) from error


@contextlib.contextmanager
def full_is_named(folder: Path | None = None) -> Iterator[None]:
    """Names TMPDIR in the error of a full disk, if `folder`, which lies there, is what is full; None: TMPDIR itself.

    The system's error often names no file, or only the one that was being copied.
    """
    try:
        yield
    except OSError as error:
        folder = folder or _temporary()
        files = [Path(os.fsdecode(file)) for file in (error.filename, error.filename2) if isinstance(file, str | bytes)]
        here = any(file.is_relative_to(folder) for file in files) or not (files or _has_room(folder))
        if error.errno in FULL and here:
            raise DeployError(
                f"{_temporary()} is full ({error.strerror}): expected room for temporary files there; free some space, "
                f"{ELSEWHERE}"
            ) from error
        raise


def sweep_temporary() -> None:
    """Removes the folders that killed processes left in TMPDIR."""
    with contextlib.suppress(DeployError):  # of a TMPDIR that cannot be used, which this command may not need
        _sweep(_temporary())


def _temporary() -> Path:
    """The folder that TMPDIR names. `tempfile` would take another one if that is missing or full."""
    try:
        return Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    except OSError as error:
        raise DeployError(f"no folder can take temporary files ({error.strerror}): set TMPDIR to one") from error


def _make_temporary(place: Path) -> tuple[Path, int]:
    try:
        return _make(place, PREFIX)
    except OSError as error:
        raise _unusable(place, error) from error


def _make(place: Path, prefix: str) -> tuple[Path, int]:
    """A new folder in `place`, and its lock, held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place.absolute()))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, OPEN_FOLDER)
            with contextlib.suppress(OSError):  # some network disks lock no folders: there none is swept either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)  # another process took it for one that was left behind, before it was locked


def _unusable(place: Path, error: OSError) -> DeployError:
    return DeployError(
        f"{place} cannot take temporary files ({error.strerror}): expected a folder with room that can be written to; "
        f"make it one, {ELSEWHERE}"
    )


def _has_room(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(ROOM_BYTES))
    except OSError:
        return False
    return True


def _sweep(place: Path) -> None:
    """Removes our folders in `place` whose owners are gone; leaves what cannot be removed."""
    with contextlib.suppress(OSError):
        opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in [entry.name for entry in os.scandir(opened) if NAME.fullmatch(entry.name)]:
                with contextlib.suppress(OSError):
                    _remove_left(name, opened)
        finally:
            os.close(opened)


def _remove_left(name: str, place: int) -> None:
    """Removes the folder `name` of the opened folder `place`; raises OSError while its owner lives.

    Each step goes through opened folders, so that nothing can be put in its way, and follows no link.
    """
    folder = os.open(name, OPEN_FOLDER, dir_fd=place)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o777 != 0o700:
            return
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, ignore_errors=True, dir_fd=folder)
            else:
                os.unlink(entry.name, dir_fd=folder)
        os.rmdir(name, dir_fd=place)
    finally:
        os.close(folder)
