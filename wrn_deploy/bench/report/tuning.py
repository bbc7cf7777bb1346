"""What tuning measured, as data: the cost of each Conv in int8, and the sets of fp16 Convs that were tried."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.record import read_record
from wrn_deploy.bench.report.scores import exceeds, falls_short

__all__ = ["Budget", "ConvCost", "Score", "Trial", "Tuning", "read_tuning"]

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
        """The fraction of images classified right, 0..1; 0 without labels."""
        return self.correct / self.images

    @property
    def agreement(self) -> float:
        """The fraction of images with the same argmax as fp32, 0..1."""
        return self.same / self.images


@dataclass(frozen=True, slots=True)
class ConvCost:
    """One Conv: multiply-accumulates for one image, and the score with it alone in int8, all others in fp16."""

    name: str
    macs: int
    alone: Score


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured set of Convs in fp16; `int8_share` is the fraction of the Convs' MACs that stays in int8, 0..1."""

    float_convs: tuple[str, ...]
    int8_share: float
    score: Score


@dataclass(frozen=True, slots=True)
class Budget:
    """The allowed loss against fp32: points of top-1, and minimum agreement in percent; None: not asked for."""

    max_drop: float | None
    min_agreement: float | None

    def met(self, score: Score, reference: Score) -> bool:
        """Whether `score` is within the budget; `reference` is fp32's on the same images."""
        lost, images = reference.correct - score.correct, score.images
        dropped = self.max_drop is not None and exceeds(lost, images, self.max_drop)
        differs = self.min_agreement is not None and falls_short(score.same, images, self.min_agreement)
        return not dropped and not differs

    def __str__(self) -> str:
        wanted = {"--max-drop": self.max_drop, "--min-agreement": self.min_agreement}
        return " ".join(f"{name} {value:g}" for name, value in wanted.items() if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The result of tuning; `layers` by error per MAC, the costliest first; `chosen` None: no set met the budget.

    `trials` are in the order of `int8_share`, the largest first. `reference` is fp32's score.
    """

    model: str
    random_weights: bool
    data: str
    sensitivity_data: str
    budget: Budget
    reference: Score
    layers: tuple[ConvCost, ...]
    trials: tuple[Trial, ...]
    chosen: Trial | None

    @property
    def ladder(self) -> list[Trial]:
        """The trials that keep the first N layers of the ranking in fp16."""
        names = [layer.name for layer in self.layers]
        return [trial for trial in self.trials if {*trial.float_convs} == {*names[: len(trial.float_convs)]}]

    @property
    def frontier(self) -> list[Trial]:
        """The ladder and the chosen set, by `int8_share`, the largest first."""
        shown = self.ladder
        return [trial for trial in self.trials if trial in shown or trial == self.chosen]

    def drop(self, score: Score) -> float:
        """Points of top-1 below fp32; negative: better."""
        return 100.0 * (self.reference.correct - score.correct) / score.images

    def uncertainty(self, score: Score) -> float:
        """An upper bound of the standard error of `drop`, in points: only answers that differ from fp32's count.

        McNemar (1947): the variance of a difference of two counts on the same images is the number of images that
        count for one alone, which is at most that of the answers that differ.
        """
        return 100.0 * math.sqrt(score.images - score.same) / score.images

    def to_json(self) -> str:
        """The result as JSON, with the fractions and drops that follow from the counts."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        record["reference"].update(top1=self.reference.top1)
        for layer, cost in zip(record["layers"], self.layers, strict=True):
            layer["alone"].update(agreement=cost.alone.agreement)
        for written, trial in [(record["chosen"], self.chosen), *zip(record["trials"], self.trials, strict=True)]:
            if trial is not None:
                score = trial.score
                computed = {"top1": score.top1, "drop": self.drop(score), "drop_error": self.uncertainty(score)}
                written["score"].update(computed, agreement=score.agreement)
                written["meets"] = self.budget.met(score, self.reference)
        return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_tuning(file: Path) -> Tuning:
    """Reads what `Tuning.to_json` wrote.

    Raises:
        DeployError: the file is missing, damaged, or of another format.
    """
    return read_record(
        file, Tuning, version=FORMAT, name="a record of tuning", command="wrn-deploy tune", extra="ignore"
    )
