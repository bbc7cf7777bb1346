"""The shards that a data set was found to have, as data; the standard library only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["Shard", "ShardSet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file of images, or some images of a data set that is not in such files.

    Attributes:
        number: counted from 0.
        name: its name in the data set.
        format: the file's format, a name in `data/formats`.
        file: its path or address; None: the images from `start` to `stop` of the data set.
        size_bytes: size of the file.
        start: first image.
        stop: the one after the last image.
    """

    number: int
    name: str
    format: str = ""
    file: str | None = None
    size_bytes: int | None = None
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """All shards of a data set, in the order of their numbers.

    Attributes:
        data: the data set, as it was given.
        shards: the shards.
        images: digest of the names of the images, for data that is not in files; empty otherwise.
        notes: what was left out or chosen.
    """

    data: str
    shards: tuple[Shard, ...]
    images: str = ""
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of the names of the shards and of the images, by which other data is noticed; no place is in it."""
        names = hashlib.sha256(self.images.encode("ascii"))
        for shard in self.shards:
            names.update(f"{shard.name}\0".encode("utf-8", "surrogateescape"))
        return names.hexdigest()
