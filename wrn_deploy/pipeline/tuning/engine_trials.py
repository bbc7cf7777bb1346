"""What tuning a plan measured, as data: the builds that were tried, their times, and the one that is kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.record import read_record

__all__ = ["EngineTrial", "EngineTuning", "choose_fastest", "read_engine_tuning"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTrial:
    """One build of a plan.

    Attributes:
        level: the builder's optimization level; None: TensorRT's default.
        aux_streams: the most auxiliary streams; None: TensorRT's choice.
        tiling: the tiling level's name; None: TensorRT's default.
        build_s: seconds that the builder took.
        size_bytes: the plan's size.
        rounds_ms: host times of the runs, in milliseconds, by rounds; None if it was not measured.
        skipped: why it was not measured; None if it was.
    """

    level: int | None
    aux_streams: int | None
    tiling: str | None
    build_s: float
    size_bytes: int
    rounds_ms: tuple[tuple[float, ...], ...] | None = None
    skipped: str | None = None

    @property
    def p50_ms(self) -> float | None:
        """The median of all its runs; None if it was not measured."""
        return None if self.rounds_ms is None else float(np.median([time for turn in self.rounds_ms for time in turn]))

    def __str__(self) -> str:
        given = {"level": self.level, "aux streams": self.aux_streams, "tiling": self.tiling}
        return (
            ", ".join(f"{name} {value}" for name, value in given.items() if value is not None) or "TensorRT's defaults"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTuning:
    """The result of tuning a plan; the first of `trials` is the plan as it was, `chosen` the index of the one kept."""

    model: str
    random_weights: bool
    precision: str
    gpu: str
    batch: int
    data: str
    trials: tuple[EngineTrial, ...]
    chosen: int
    sha256: str

    def ratio(self, index: int) -> Ratio | None:
        """The time of a trial over that of the plan as it was, paired by rounds; None for the plan itself."""
        return None if index == 0 else _ratio(self.trials[index], self.trials[0])

    def to_json(self) -> str:
        """The result as JSON."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, allow_nan=False) + "\n"


def choose_fastest(trials: Sequence[EngineTrial]) -> int:
    """The index of the trial to keep, from the cheapest build to the dearest.

    A later one replaces the best before it only if the whole 95 % interval of the ratio of their times is below 1: what
    cannot be told apart stays the cheaper build.
    """
    best = 0
    for index, trial in enumerate(trials):
        ratio = _ratio(trial, trials[best])
        if ratio is not None and ratio.high < 1.0:
            best = index
    return best


def _ratio(trial: EngineTrial, base: EngineTrial) -> Ratio | None:
    if trial.rounds_ms is None or base.rounds_ms is None:
        return None
    return paired_ratio(trial.rounds_ms, base.rounds_ms)


def read_engine_tuning(file: Path) -> EngineTuning:
    """Reads what `EngineTuning.to_json` wrote.

    Raises:
        DeployError: the file is missing, damaged, or of another format.
    """
    return read_record(
        file, EngineTuning, version=FORMAT, name="a record of tuning a plan", command="wrn-deploy tune", extra="forbid"
    )
