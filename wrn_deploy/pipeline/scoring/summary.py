"""The summary of scores: what all parts have together, summed up shard by shard in memory that does not grow."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wrn_deploy.errors import DamagedFile
from wrn_deploy.shards.ledger import Entry
from wrn_deploy.shards.recipe import Recipe
from wrn_deploy.spec import ModelSpec

__all__ = ["ClassCount", "MergedFile", "Summary", "Sums"]

NAMED = 1000  # corrupt images in the summary; the ledger has all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """How many images have this best class."""

    index: int
    label: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedFile:
    """The file with all scores."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What all parts have.

    Attributes:
        recipe: the job's.
        random_weights: whether the network was never trained.
        shards: number of shards with a part.
        images: rows.
        labelled: images with a known class.
        correct: images of these whose best class it is.
        corrupt: number of images that were left out.
        corrupt_names: the first thousand of them.
        damaged: names of the shards that were left out.
        classes: those that an image has as its best one.
        data: sha256 over the digests of the shards' images.
        parts: sha256 over the digests of the parts.
        size_bytes: of all parts.
        seconds: of all workers together.
        machines: shards by what ran them.
        merged: the file with all scores; None: none was written.
    """

    recipe: Mapping[str, Any]
    random_weights: bool
    shards: int
    images: int
    labelled: int
    correct: int
    corrupt: int
    corrupt_names: tuple[str, ...]
    damaged: tuple[str, ...]
    classes: tuple[ClassCount, ...]
    data: str
    parts: str
    size_bytes: int
    seconds: float
    machines: Mapping[str, int]
    merged: MergedFile | None


@dataclass(slots=True, kw_only=True)
class Sums:
    """What is counted, shard by shard, in the order of their numbers.

    Attributes:
        classes: int64, images by their best class.
        twins: pairs of shards that have the same images.
    """

    classes: Any
    shards: int = 0
    images: int = 0
    labelled: int = 0
    correct: int = 0
    corrupt: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    corrupt_names: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)
    machines: dict[str, int] = field(default_factory=dict)
    _data: Any = field(default_factory=hashlib.sha256)
    _parts: Any = field(default_factory=hashlib.sha256)
    _seen: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry, name_of: Callable[[int], str]) -> None:
        """Counts a shard that was checked; `name_of` finds a shard's name by its number."""
        self.seconds += entry.seconds
        self.corrupt += len(entry.corrupt)
        self.corrupt_names += entry.corrupt[: NAMED - len(self.corrupt_names)]
        if entry.damaged:
            self.damaged.append(entry.name)
            return
        twin = self._seen.setdefault(entry.data[:16], entry.shard)
        if twin != entry.shard and len(self.twins) < NAMED:
            self.twins.append((name_of(twin), entry.name))
        self.shards, self.images = self.shards + 1, self.images + entry.images
        self.size_bytes += entry.size_bytes
        self.machines[entry.machine] = self.machines.get(entry.machine, 0) + 1
        self._data.update(f"{entry.data}\n".encode("ascii", "replace"))
        self._parts.update(f"{entry.sha256}\n".encode("ascii", "replace"))

    def count(self, batch: Any) -> None:
        """Counts rows of a part: a record batch of pyarrow with `label` and `classes`."""
        width = batch.column(1).type.list_size
        best = batch.column(1).flatten().to_numpy()[::width]
        labels = batch.column(0).fill_null(-1).to_numpy(zero_copy_only=False)
        if len(best) and not 0 <= best.min() <= best.max() < len(self.classes):
            raise DamagedFile(f"a part has class {best.max()}: expected 0 to {len(self.classes) - 1}")
        self.classes += np.bincount(best, minlength=len(self.classes))
        self.labelled += int((labels >= 0).sum())
        self.correct += int((labels == best).sum())

    def summarise(self, spec: ModelSpec, recipe: Recipe, *, random_weights: bool, merged: MergedFile | None) -> Summary:
        """The summary of what was counted."""
        counted = enumerate(self.classes.tolist())
        return Summary(
            recipe=dataclasses.asdict(recipe),
            random_weights=random_weights,
            shards=self.shards,
            images=self.images,
            labelled=self.labelled,
            correct=self.correct,
            corrupt=self.corrupt,
            corrupt_names=tuple(self.corrupt_names),
            damaged=tuple(self.damaged),
            classes=tuple(ClassCount(index=i, label=spec.label(i), images=n) for i, n in counted if n),
            data=self._data.hexdigest(),
            parts=self._parts.hexdigest(),
            size_bytes=self.size_bytes,
            seconds=round(self.seconds, 3),
            machines=self.machines,
            merged=merged,
        )
