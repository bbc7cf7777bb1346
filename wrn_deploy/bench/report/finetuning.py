"""What fine-tuning measured, as data: the score of each int8 graph on held-out images before, during and after it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.bench.report.record import read_record

__all__ = ["Finetuned", "Finetuning", "Look", "Standing", "read_finetuning"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """A graph on the held-out images: loss, answers equal to fp32's, right ones (None: the images have no labels)."""

    images: int
    loss: float
    same: int
    correct: int | None

    @property
    def agreement(self) -> float:
        """The fraction of images with the same argmax as fp32, 0..1."""
        return self.same / self.images

    @property
    def top1(self) -> float | None:
        """The fraction of images classified right, 0..1; None: no labels."""
        return None if self.correct is None else self.correct / self.images

    def is_better_than(self, other: Standing, *, by_labels: bool) -> bool:
        """Whether the loss is lower and no answer trained for is lost: those equal to the labels, or to fp32's."""
        ours, theirs = (self.correct, other.correct) if by_labels else (self.same, other.same)
        return self.loss < other.loss and (ours or 0) >= (theirs or 0)


@dataclass(frozen=True, slots=True)
class Look:
    """The graph after a training step; `loss` is the training loss since the last look."""

    step: int
    rate: float
    loss: float
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """One graph, measured by ONNX Runtime (`before`, `after`) and by PyTorch (`looks`); they differ by `difference`.

    `kept` is the step whose values were written; None: no step was better, and the graph is unchanged.
    """

    key: str
    before: Standing
    looks: tuple[Look, ...]
    kept: int | None
    after: Standing
    difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """The result of fine-tuning; `reference` is fp32's standing, `schedule` the options in JSON types."""

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

    def uncertainty(self, standing: Standing) -> float:
        """One standard error of the agreement, in points."""
        agreement = standing.agreement
        return 100.0 * math.sqrt(agreement * (1.0 - agreement) / standing.images)

    def to_json(self) -> str:
        """The result as JSON, with the fractions that follow from the counts."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        for graph, own in zip(record["graphs"], self.graphs, strict=True):
            for name, standing in (("before", own.before), ("after", own.after)):
                graph[name].update(agreement=standing.agreement, top1=standing.top1)
        record["reference"].update(top1=self.reference.top1)
        return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_finetuning(file: Path) -> Finetuning:
    """Reads what `Finetuning.to_json` wrote.

    Raises:
        DeployError: the file is missing, damaged, or of another format.
    """
    return read_record(
        file, Finetuning, version=FORMAT, name="a record of fine-tuning", command="wrn-deploy finetune", extra="ignore"
    )
