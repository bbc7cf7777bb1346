"""What tuning measured, as data: the cost of each Conv in int8, and the sets of fp16 Convs that were tried."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.bench.report.shares import exceeds, falls_short
from wrn_deploy.errors import DamagedFile, DeployError

__all__ = ["Budget", "Layer", "Score", "Trial", "Tuning", "read_tuning"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Score:
    """A graph against fp32 on the same images: right answers, those equal to fp32's, mean squared logit difference."""

    images: int
    correct: int
    same: int
    error: float

    @property
    def top1(self) -> float:
        """The share of images classified right, 0..1; 0 without labels."""
        return self.correct / self.images

    @property
    def agreement(self) -> float:
        """The share of images with the same argmax as fp32, 0..1."""
        return self.same / self.images


@dataclass(frozen=True, slots=True)
class Layer:
    """One Conv: multiply-accumulates for one image, and what it costs alone in int8, all others in fp16."""

    name: str
    macs: int
    alone: Score


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of Convs in fp16, measured; `int8_share` is the share of the Convs' MACs that is left in int8, 0..1."""

    float_convs: tuple[str, ...]
    int8_share: float
    score: Score


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be lost against fp32: points of top-1, and the least agreement in per cent; None: not asked for."""

    max_drop: float | None
    min_agreement: float | None

    def met(self, score: Score, reference: Score) -> bool:
        """Whether `score` keeps within it; `reference` is fp32's on the same images."""
        lost, images = reference.correct - score.correct, score.images
        dropped = self.max_drop is not None and exceeds(lost, images, self.max_drop)
        differs = self.min_agreement is not None and falls_short(score.same, images, self.min_agreement)
        return not dropped and not differs

    def __str__(self) -> str:
        wanted = {"--max-drop": self.max_drop, "--min-agreement": self.min_agreement}
        return " ".join(f"{name} {value:g}" for name, value in wanted.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything that was measured; `layers` by error per MAC, the costliest first; `chosen` None: no set will do.

    `trials` are in the order of `int8_share`, the largest first. `reference` is fp32's score.
    """

    model: str
    random_weights: bool
    data: str
    sensitivity_data: str
    budget: Budget
    reference: Score
    layers: tuple[Layer, ...]
    trials: tuple[Trial, ...]
    chosen: Trial | None

    @property
    def ladder(self) -> list[Trial]:
        """The trials that keep the costliest layers by the ranking, however many."""
        names = [layer.name for layer in self.layers]
        return [trial for trial in self.trials if {*trial.float_convs} == {*names[: len(trial.float_convs)]}]

    @property
    def frontier(self) -> list[Trial]:
        """The ladder and the chosen set, by `int8_share`, the largest first."""
        shown = self.ladder
        return [trial for trial in self.trials if trial in shown or trial == self.chosen]

    def drop(self, score: Score) -> float:
        """Points of top-1 below fp32; negative where it is better."""
        return 100.0 * (self.reference.correct - score.correct) / score.images

    def uncertainty(self, score: Score) -> float:
        """The standard error of `drop` in points, at most: only answers that differ from fp32's can change it.

        McNemar (1947): the variance of a difference of two counts on the same images is the number of those that
        count for one alone, which is not more than that of the answers that differ.
        """
        return 100.0 * math.sqrt(score.images - score.same) / score.images

    def to_json(self) -> str:
        """All of it, with the shares and drops that follow from the counts."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        record["reference"].update(top1=self.reference.top1)
        for layer, own in zip(record["layers"], self.layers, strict=True):
            layer["alone"].update(agreement=own.alone.agreement)
        known = [(record["chosen"], self.chosen), *zip(record["trials"], self.trials, strict=True)]
        for trial, own_trial in known:
            if own_trial is not None:
                score = own_trial.score
                told = {"top1": score.top1, "drop": self.drop(score), "drop_error": self.uncertainty(score)}
                trial["score"].update(told, agreement=score.agreement)
                trial["meets"] = self.budget.met(score, self.reference)
        return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_tuning(file: Path) -> Tuning:
    """Reads what `to_json` wrote.

    Raises:
        DeployError: the file is damaged, or of another format.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise DeployError(f"{file} has another format: expected {FORMAT}; run `wrn-deploy tune` again")
        made = {
            "budget": Budget(**record["budget"]),
            "reference": _score(record["reference"]),
            "layers": tuple(Layer(layer["name"], layer["macs"], _score(layer["alone"])) for layer in record["layers"]),
            "trials": tuple(map(_trial, record["trials"])),
            "chosen": None if record["chosen"] is None else _trial(record["chosen"]),
        }
        return Tuning(**{**record, **made})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{file} is no record of tuning ({error!r}): run `wrn-deploy tune` again") from error


def _score(record: Mapping[str, Any]) -> Score:
    return Score(record["images"], record["correct"], record["same"], record["error"])


def _trial(record: Mapping[str, Any]) -> Trial:
    return Trial(tuple(record["float_convs"]), record["int8_share"], _score(record["score"]))
