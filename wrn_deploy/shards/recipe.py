"""What the parts of one job have in common, so that those of another one are noticed; the standard library only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.record import from_record
from wrn_deploy.files.text import parse_json

__all__ = ["Recipe", "read_recipe"]

SHOWN = 16  # characters of a value in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Equal recipes make equal parts, on machines of the same kind.

    Args:
        model: the network's name.
        spec: sha256 of its description: preprocessing, classes, outputs.
        artifact: sha256 of the graph or plan that runs.
        backend: what runs it.
        precision: its precision.
        scores: what the scores are, as in "softmax over 10 classes".
        top_k: number of classes per image.
        logits: whether the parts have all logits.
        features: whether they have the features.
        batch: number of images per inference, counted from the first image of each shard.
        images_per_shard: for data that is not in shards itself.
        data: digest of the names of all shards.
        shards: number of shards.
        versions: of the packages that numbers and files depend on.
    """

    model: str
    spec: str
    artifact: str
    backend: str
    precision: str
    scores: str
    top_k: int
    logits: bool
    features: bool
    batch: int
    images_per_shard: int
    data: str
    shards: int
    versions: Mapping[str, str]

    def to_text(self) -> str:
        """The one text of this recipe: sorted JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """The sha256 of the text."""
        return hashlib.sha256(self.to_text().encode("ascii")).hexdigest()

    def differences(self, now: Recipe) -> str:
        """What differs in another recipe, as in "precision fp32, now int8"."""
        before, after = _flat(dataclasses.asdict(self)), _flat(dataclasses.asdict(now))
        names = [name for name in (before | after) if before.get(name) != after.get(name)]
        return "; ".join(f"{name} {_short(before.get(name))}, now {_short(after.get(name))}" for name in names)


def read_recipe(content: bytes, name: str) -> Recipe:
    """Reads what `to_text` wrote; raises DamagedFile for anything else."""
    recipe = from_record(Recipe, parse_json(content.decode("utf-8", "replace"), name), name)
    if recipe.to_text().encode("ascii") != content:
        raise DamagedFile(f"{name} was changed: expected the text that was written")
    return recipe


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    versions = {f"version of {package}": version for package, version in record["versions"].items()}
    return {**{name: value for name, value in record.items() if name != "versions"}, **versions}


def _short(value: object) -> str:
    return "none" if value is None else str(value)[:SHOWN]
