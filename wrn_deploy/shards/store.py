"""The folder that results go to, on a disk or on a storage: whole files alone, whoever else writes there too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.new_file import check_target
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.room import check_writable
from wrn_deploy.files.text import read_bytes
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.shards.address import check_address, is_address
from wrn_deploy.shards.filesystem import copy_here, list_files, open_filesystem, read_object, storage_errors

__all__ = ["Store", "open_store"]


class Store(Protocol):
    """A folder of whole files; picklable. Files of one name replace each other in one step."""

    @property
    def place(self) -> str:
        """The path or the address, for messages."""

    @property
    def is_local(self) -> bool:
        """Whether a file is read without being copied."""

    def names(self) -> dict[str, int]:
        """The files directly in it and their sizes, by name; none if there is no such folder yet."""

    def read(self, name: str) -> bytes:
        """The content of a small file, at most `text_bytes`; raises FileNotFoundError if there is none."""

    def fetch(self, name: str, scratch: Path) -> Path:
        """A file's path on this machine: a copy in `scratch` if the folder is elsewhere."""

    def put(self, file: Path, name: str) -> None:
        """Moves a finished file of a `scratch` folder here under that name."""

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """A folder on this machine for unfinished files, removed at the end; removes those of killed processes."""


def open_store(out: str) -> Store:
    """The folder at a path or an address, which need not exist yet.

    Raises:
        UsageError: the address is of another scheme, or has a secret in it.
        DeployError: the path is a file, or cannot be written to.
    """
    if is_address(out):
        return _Remote(place=check_address(out).rstrip("/"))
    check_writable(Path(out), "the parts")
    return _Local(place=out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """A folder on a disk of this machine, or on one that several machines share."""

    place: str
    is_local: bool = True

    def names(self) -> dict[str, int]:
        try:
            with os.scandir(self.place) as entries:
                return {
                    entry.name: entry.stat(follow_symlinks=False).st_size
                    for entry in entries
                    if entry.is_file(follow_symlinks=False)
                }
        except FileNotFoundError:
            return {}

    def read(self, name: str) -> bytes:
        with open_regular(name, inside=self.place) as stream:
            return read_bytes(stream, Path(self.place) / name)

    def fetch(self, name: str, scratch: Path) -> Path:
        del scratch
        path = Path(self.place) / name
        if path.is_symlink():
            raise DamagedFile(f"{path} is a link: expected the file itself; remove it")
        return path

    def put(self, file: Path, name: str) -> None:
        target = Path(self.place) / name
        check_target(target)
        file.replace(target)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        Path(self.place).mkdir(parents=True, exist_ok=True)
        with scratch_folder(within=Path(self.place)) as folder:
            yield folder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remote:
    """A folder on a storage, which shows an object once all of it is there."""

    place: str
    is_local: bool = False

    def names(self) -> dict[str, int]:
        try:
            return list_files(self.place, deep=False)
        except FileNotFoundError:
            return {}

    def read(self, name: str) -> bytes:
        return read_object(f"{self.place}/{name}", "text_bytes")

    def fetch(self, name: str, scratch: Path) -> Path:
        target = scratch / name
        copy_here(f"{self.place}/{name}", target)
        return target

    def put(self, file: Path, name: str) -> None:
        address = f"{self.place}/{name}"
        filesystem, path = open_filesystem(address)
        with storage_errors(address):
            try:
                filesystem.put_file(str(file), path)
            except FileNotFoundError as error:  # of a bucket, not of the file
                raise DeployError(f"{self.place} is not there ({error}): expected an existing bucket") from None
        file.unlink()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        with scratch_folder() as folder:
            yield folder
