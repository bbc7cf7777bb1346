"""What fine-tuning measured, as data: how each int8 graph stood on held-out images before, during and after it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError

__all__ = ["Finetuned", "Finetuning", "Look", "Standing", "read_finetuning"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """A graph on the held-out images: its loss, answers equal to fp32's, right ones (None: they have no labels)."""

    images: int
    loss: float
    same: int
    correct: int | None

    @property
    def agreement(self) -> float:
        """The share of images with the same argmax as fp32, 0..1."""
        return self.same / self.images

    @property
    def top1(self) -> float | None:
        """The share of images classified right, 0..1."""
        return None if self.correct is None else self.correct / self.images

    def is_better_than(self, other: Standing, *, by_labels: bool) -> bool:
        """A lower loss and not fewer of the answers that were trained for: the labels, or fp32's."""
        ours, theirs = (self.correct, other.correct) if by_labels else (self.same, other.same)
        return self.loss < other.loss and (ours or 0) >= (theirs or 0)


@dataclass(frozen=True, slots=True)
class Look:
    """How the graph stood behind a step; `loss` is that of training since the last look."""

    step: int
    rate: float
    loss: float
    standing: Standing


@dataclass(frozen=True, slots=True)
class Finetuned:
    """One graph. `before` and `after` are ONNX Runtime's, `looks` PyTorch's; `difference` is between the two.

    `kept` is the step whose values are written; None: none was better than the start, and the graph is as it was.
    """

    key: str
    before: Standing
    looks: tuple[Look, ...]
    kept: int | None
    after: Standing
    difference: float


@dataclass(frozen=True, slots=True)
class Finetuning:
    """All of it; `reference` is fp32's standing, `schedule` what was asked for, in JSON types."""

    model: str
    random_weights: bool
    data: str
    images: int
    held_out: str
    schedule: Mapping[str, Any]
    reference: Standing
    graphs: tuple[Finetuned, ...]

    @property
    def improved(self) -> tuple[Finetuned, ...]:
        """The graphs that were written."""
        return tuple(graph for graph in self.graphs if graph.kept is not None)

    def gain(self, graph: Finetuned) -> float:
        """Points of agreement with fp32 that it gained."""
        return 100.0 * (graph.after.same - graph.before.same) / graph.before.images

    def uncertainty(self, standing: Standing) -> float:
        """One standard error of an agreement, in points: that of a share of `images`."""
        share = standing.agreement
        return 100.0 * math.sqrt(share * (1.0 - share) / standing.images)

    def to_json(self) -> str:
        """All of it, with the shares that follow from the counts."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        for graph, own in zip(record["graphs"], self.graphs, strict=True):
            for name, standing in (("before", own.before), ("after", own.after)):
                graph[name].update(agreement=standing.agreement, top1=standing.top1)
        record["reference"].update(top1=self.reference.top1)
        return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_finetuning(file: Path) -> Finetuning:
    """Reads what `to_json` wrote.

    Raises:
        DeployError: the file is damaged, or of another format.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise DeployError(f"{file} has another format: expected {FORMAT}; run `wrn-deploy finetune` again")
        graphs = tuple(map(_graph, record["graphs"]))
        return Finetuning(**{**record, "reference": _standing(record["reference"]), "graphs": graphs})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{file} is no record of fine-tuning ({error!r}): run `wrn-deploy finetune` again") from error


def _graph(record: dict[str, Any]) -> Finetuned:
    looks = tuple(Look(**{**look, "standing": _standing(look["standing"])}) for look in record["looks"])
    stood = {name: _standing(record[name]) for name in ("before", "after")}
    return Finetuned(**{**record, **stood, "looks": looks})


def _standing(record: Mapping[str, Any]) -> Standing:
    return Standing(record["images"], record["loss"], record["same"], record["correct"])
