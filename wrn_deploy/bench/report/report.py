"""What a benchmark measured: raw samples and the environment they were taken in, as data."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from wrn_deploy.bench.report.derived import Derived, derive
from wrn_deploy.bench.report.environment import Environment, Sitting
from wrn_deploy.bench.report.record import read_record
from wrn_deploy.bench.report.scores import Accuracy, LoadResult
from wrn_deploy.errors import DamagedFile
from wrn_deploy.machine import Machine
from wrn_deploy.spec import Precision

__all__ = [
    "FORMAT", "SERVED", "Accuracy", "Boundary", "Latency", "LayerTime", "LoadResult", "Report", "Row", "RowKey",
    "Settings", "WarmUp", "read_report",
]  # fmt: skip

RowKey = tuple[str, Precision]  # backend and precision

FORMAT = 4
SERVED = "triton"  # the backend of rows that a server answered


class Boundary(StrEnum):
    """The section that is timed, the same for every row."""

    COMPUTE = "compute"
    TRANSFER = "transfer"
    E2E = "e2e"

    @property
    def meaning(self) -> str:
        """What the section holds, in words."""
        return {
            "compute": "inference only, from its start until the device is done; the input is already there, no copies",
            "transfer": "from prepared images to outputs, both in host memory: inference, and copies in both "
            "directions",
            "e2e": "from encoded images to their labels: decoding, resizing, normalising, copies, inference, argmax",
        }[self]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The warm-up of a candidate before it was timed; `steady`: its times had settled."""

    seconds: float
    runs: int
    steady: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """Raw times of one candidate at one batch size, in milliseconds, by rounds, in the order they were taken.

    `device_ms` are the device's own times (CUDA events) of the same runs; empty if it has no such clock.
    """

    batch: int
    rounds_ms: tuple[tuple[float, ...], ...]
    warm_up: WarmUp
    device_ms: tuple[tuple[float, ...], ...] = ()

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """The times of all rounds."""
        return tuple(itertools.chain.from_iterable(self.rounds_ms))


@dataclass(frozen=True, slots=True)
class LayerTime:
    """The median time of one layer over several runs; `precision` is the runtime's own name for it."""

    name: str
    ms: float
    precision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate. A row that did not run has `skipped`, the reason, and no measurements.

    `layers` are in the order they run, if the runtime reports them; `loads` are the LoadGen scenarios.
    """

    backend: str
    title: str
    precision: Precision
    skipped: str | None = None
    artifact: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    peak_rss_bytes: int | None = None
    latencies: tuple[Latency, ...] = ()
    accuracy: Accuracy | None = None
    layers: tuple[LayerTime, ...] = ()
    loads: tuple[LoadResult, ...] = ()

    @property
    def name(self) -> str:
        """As in "ONNX Runtime int8"."""
        return f"{self.title} {self.precision}"

    @property
    def key(self) -> RowKey:
        """Backend and precision, which identify the row in a report."""
        return self.backend, self.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a benchmark.

    Args:
        batches: batch sizes.
        rounds: turns of each candidate at each batch size.
        duration_s: time for all turns of a candidate at one batch size together.
        iterations: maximum runs in a turn.
        threads: CPU threads.
        streams: inferences at the same time, each on its own execution context; a run is one of each.
        boundary: the timed section.
    """

    batches: tuple[int, ...]
    rounds: int
    duration_s: float
    iterations: int
    threads: int
    streams: int
    boundary: Boundary


@dataclass(frozen=True, kw_only=True)  # no slots: `derived` is kept in the instance
class Report:
    """One benchmark of one bundle.

    `data_digest` identifies the images (see `wrn_deploy/data/sampling/digest.py`); `corrupt` names those left out.
    `reference` is the name of the row that `agreement` refers to, `baseline` of the row by whose times the others' are
    divided. `environment` is that of the last sitting; `earlier` are those before it, if the benchmark was interrupted.
    """

    model: str
    random_weights: bool
    created: str
    data: str
    data_digest: str
    corrupt: tuple[str, ...]
    reference: str | None
    baseline: str | None
    machine: Machine
    versions: Mapping[str, str]
    settings: Settings
    rows: tuple[Row, ...]
    environment: Environment | None = None
    earlier: tuple[Sitting, ...] = ()

    @property
    def timed(self) -> bool:
        """Whether any row has latencies; a report of accuracy alone has none."""
        return any(row.latencies for row in self.rows)

    @property
    def reference_accuracy(self) -> Accuracy | None:
        """The accuracy of the reference row; None if it was not measured."""
        return next((row.accuracy for row in self.rows if row.name == self.reference), None)

    @cached_property
    def derived(self) -> Derived:
        """Statistics, verdicts on ratios and the ranking by speed; computed once."""
        return derive(self)

    def taken(self, batch: int) -> float:
        """The fraction of the cores' time that others took while a batch size was timed, or, unknown, in all; 0..1.

        Of several sittings with such rounds, that of the worst.
        """
        found = [sitting.environment for sitting in self.earlier if sitting.rounds.get(batch)]
        if self.environment is not None and (batch in self.environment.taken or not found):
            found.append(self.environment)
        return max((_taken(each, batch, self.machine.cores) for each in found), default=0.0)

    def to_json(self) -> str:
        """The whole report as JSON, raw samples included; `derived` has what is computed from them."""
        derived = [dataclasses.asdict(row) for row in self.derived.rows]
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self), "derived": derived}) + "\n"


def _taken(found: Environment, batch: int, cores: int) -> float:
    return found.taken.get(batch, (found.others_cores or 0.0) / cores + (found.steal or 0.0))


def read_report(file: Path) -> Report:
    """Reads what `Report.to_json` wrote.

    Raises:
        DeployError: the file is missing, damaged, of another format, or has an impossible number.
    """
    report = read_record(
        file, Report, version=FORMAT, name="a benchmark report", command="wrn-deploy bench", extra="forbid"
    )
    named = [f"rows of {name}" for name in (row.name for row in report.rows)]
    named += [f"times of {row.name} at batch {latency.batch}" for row in report.rows for latency in row.latencies]
    double = next((one for one in named if named.count(one) > 1), None)
    if double is not None:
        raise DamagedFile(f"{file} has two {double}: expected one; run `wrn-deploy bench` again")
    return report
