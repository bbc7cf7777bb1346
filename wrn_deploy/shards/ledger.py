"""The ledger: a small record beside the part of each shard that is done, so that no two writers share a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DamagedFile, UsageError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.record import from_record
from wrn_deploy.files.text import parse_json
from wrn_deploy.shards.found import Shard
from wrn_deploy.shards.recipe import Recipe, read_recipe
from wrn_deploy.shards.store import Store

__all__ = ["RECIPE", "Entry", "Ledger", "entry_name", "part_name"]

RECIPE = "recipe.json"
ENTRY = re.compile(r"part-(\d{6,})\.json")
PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One shard that is done.

    Args:
        recipe: digest of the job's recipe.
        shard: its number.
        name: its name in the data set.
        source_bytes: size of its file; None: its images are files of their own, or in a file with other shards.
        images: number of images in the part.
        corrupt: names of the images that were left out.
        data: digest of its images (`data.sampling.digest`).
        sha256: digest of the part; empty if the shard is damaged, which has no part.
        size_bytes: size of the part.
        damaged: why the shard cannot be read; empty: it was read to its end.
        machine: the CPU or GPU that ran it.
        seconds: the time it took.
    """

    recipe: str
    shard: int
    name: str
    source_bytes: int | None
    images: int
    corrupt: tuple[str, ...]
    data: str
    sha256: str
    size_bytes: int
    damaged: str
    machine: str
    seconds: float

    def to_text(self) -> str:
        """The text of the record, with its own digest."""
        record = dataclasses.asdict(self)
        return json.dumps({"digest": _digest(record), **record}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_content(cls, content: bytes, name: str) -> Entry:
        """Reads what `to_text` wrote; raises DamagedFile for anything else."""
        record = parse_json(content.decode("utf-8", "replace"), name)
        digest = record.pop("digest", None) if isinstance(record, dict) else None
        entry = from_record(cls, record, name)
        if digest != _digest(record):
            raise DamagedFile(f"{name} was changed (its digest does not match its content)")
        return entry


def part_name(shard: int) -> str:
    """The file name of a shard's part."""
    return f"part-{shard:06d}.parquet"


def entry_name(shard: int) -> str:
    """The file name of a shard's record."""
    return f"part-{shard:06d}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The records in a folder, of a job with that recipe; picklable."""

    store: Store
    recipe: Recipe

    def start(self, scratch: Path) -> None:
        """Writes the recipe, or compares it with that of the parts that are there.

        Raises:
            UsageError: the folder has the parts of another job.
        """
        if not self.check_recipe():
            self._write(RECIPE, self.recipe.to_text(), scratch)

    def check_recipe(self) -> bool:
        """Whether the folder has a recipe; raises as `start`, and DamagedFile if it is damaged."""
        where = f"{self.store.place}/{RECIPE}"
        try:
            there = read_recipe(self.store.read(RECIPE), where)
        except FileNotFoundError:
            return False
        except DamagedFile as error:
            raise DamagedFile(f"{error}; remove {where}, and the parts if they are of another job") from error
        if there != self.recipe:
            raise UsageError(
                f"{self.store.place} has the parts of another job ({there.differences(self.recipe)}): expected the "
                "options, bundle, data and versions of before; repeat them, or choose another --out"
            )
        return True

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers of the shards that have a record among the files of these names."""
        return sorted(int(found[1]) for name in names if (found := ENTRY.fullmatch(name)) and _is_plain(found[1]))

    def read(self, shard: Shard, names: Mapping[str, int]) -> Entry:
        """The record of a shard, checked against the recipe, the shard and the size of its part.

        Args:
            shard: the shard.
            names: the folder's files and sizes.

        Raises:
            DamagedFile: it is damaged, belongs to another shard or job, or its part is missing or of another size.
        """
        name = entry_name(shard.number)
        try:
            entry = Entry.from_content(self.store.read(name), name)
        except FileNotFoundError as error:
            raise DamagedFile(f"{name} is missing") from error
        if entry.recipe != self.recipe.digest:
            raise DamagedFile(f"{name} is of another job (recipe {entry.recipe[:12]}, not {self.recipe.digest[:12]})")
        if entry.shard != shard.number:
            raise DamagedFile(f"{name} is a copy of the record of shard {entry.shard}")
        if entry.name != shard.name:
            raise DamagedFile(f"{name} is of the shard {entry.name}, which is now {shard.name}")
        if entry.source_bytes != shard.size_bytes:
            raise DamagedFile(
                f"{shard.name} has changed since it was read ({entry.source_bytes} bytes, now {shard.size_bytes})"
            )
        part = part_name(shard.number)
        if not entry.damaged and names.get(part) != entry.size_bytes:
            found = f"has {names[part]} bytes" if part in names else "is missing"
            raise DamagedFile(f"{part} {found}: expected {entry.size_bytes} bytes")
        return entry

    def finished(self, shards: Iterable[Shard]) -> Iterator[tuple[Entry | None, str]]:
        """Yields the record of each shard that is done, or None and why it has to be done again, if it has a record.

        Where parts are read without being copied, their content is compared with the record, too.
        """
        names = self.store.names()
        for shard in shards:
            if entry_name(shard.number) not in names:
                yield None, ""
                continue
            try:
                entry = self.read(shard, names)
                if self.store.is_local and not entry.damaged:
                    self.check_part(entry, Path(self.store.place) / part_name(shard.number))
            except DamagedFile as error:
                yield None, str(error)
            else:
                yield (None if entry.damaged else entry), entry.damaged and f"{shard.name} was damaged"

    def check_part(self, entry: Entry, file: Path) -> None:
        """Raises DamagedFile if the part in `file` is not the one that the record describes."""
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                digest.update(piece)
        if digest.hexdigest() != entry.sha256:
            raise DamagedFile(f"{part_name(entry.shard)} is not the file that its record describes (another sha256)")

    def add(self, entry: Entry, part: Path | None, scratch: Path) -> None:
        """Moves a finished part to its place, and then writes the record, which makes it count."""
        if part is not None:
            self.store.put(part, part_name(entry.shard))
        self._write(entry_name(entry.shard), entry.to_text(), scratch)

    def _write(self, name: str, text: str, scratch: Path) -> None:
        write_whole(scratch / name, text)
        self.store.put(scratch / name, name)


def _digest(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode("ascii")).hexdigest()


def _is_plain(number: str) -> bool:
    """Whether it is written as `entry_name` does, so that no shard has two records."""
    return f"{int(number):06d}" == number
