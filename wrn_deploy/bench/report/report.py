"""What a benchmark measured: raw samples with their conditions, as data; rendering is in the files beside this one."""

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
from wrn_deploy.bench.report.environment import Conditions
from wrn_deploy.bench.report.loads import LoadResult
from wrn_deploy.bench.report.scores import Accuracy
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.machine import Machine
from wrn_deploy.spec import Precision

__all__ = [
    "FORMAT", "Accuracy", "Boundary", "Latency", "LayerTime", "LoadResult", "Report", "Row", "Settings", "WarmUp",
    "read_report",
]  # fmt: skip

FORMAT = 2


class Boundary(StrEnum):
    """The section that is timed, the same for every row."""

    COMPUTE = "compute"
    TRANSFER = "transfer"
    E2E = "e2e"

    @property
    def meaning(self) -> str:
        """What begins and ends the section, in words."""
        return {
            Boundary.COMPUTE: "inference alone, from its start until the device is done; the input is there already, "
            "no copies",
            Boundary.TRANSFER: "from prepared images to the answers, both in memory: copies both ways and inference",
            Boundary.E2E: "from encoded images to their labels: decoding, resizing, normalising, copies, inference, "
            "the largest logit",
        }[self]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a contender was warmed up before it was timed; `steady` says whether its times had settled."""

    seconds: float
    runs: int
    steady: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """Raw times of one contender at one batch size, in milliseconds, by rounds, in the order they were taken.

    `device_ms` are the device's own times (CUDA events) of the same runs; empty where there is no such clock.
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
    """What one layer of a network took, the median of several runs; `precision` as the runtime names it."""

    name: str
    ms: float
    precision: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One contender. A row that did not run has `skipped`, the reason, and no measurements.

    `layers` are in the order they run, where the runtime tells; `loads` are the scenarios that were asked for.
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


@dataclass(frozen=True, slots=True)
class Settings:
    """How it was measured.

    Args:
        batches: the batch sizes.
        rounds: turns of each contender at each batch size.
        duration_s: how long a contender's turns at one batch size should take together.
        iterations: the most runs in a turn.
        threads: CPU threads.
        streams: inferences that run at the same time, on execution contexts of their own; a run is one of each.
        boundary: the section that was timed.
    """

    batches: tuple[int, ...]
    rounds: int
    duration_s: float
    iterations: int
    threads: int
    streams: int
    boundary: Boundary


@dataclass(frozen=True)  # no slots: `derived` is kept in the instance
class Report:
    """One benchmark of one bundle.

    `data_digest` identifies the images (see `wrn_deploy/data/sampling/digest.py`); `corrupt` names those left out.
    `reference` is the name of the row that `agreement` refers to, `baseline` that of the row whose times the others'
    are divided by.
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
    conditions: Conditions | None = None

    @property
    def timed(self) -> bool:
        """Whether any row has latencies; a report of accuracy alone has none."""
        return any(row.latencies for row in self.rows)

    @cached_property
    def derived(self) -> Derived:
        """Statistics, ratios and the ranking by speed: computed when first asked for, and kept."""
        return derive(self)

    def to_json(self) -> str:
        """The report as a JSON text: everything, raw samples included; what is computed from them is in `derived`."""
        derived = [dataclasses.asdict(row) for row in self.derived.rows]
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self), "derived": derived}) + "\n"


def read_report(file: Path) -> Report:
    """Reads what `Report.to_json` wrote.

    Raises:
        DeployError: the file is missing, damaged, or of another format.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise DeployError(f"{file} has another format: expected {FORMAT}; run the benchmark again")
        record.pop("derived")
        return TypeAdapter(Report).validate_json(json.dumps(record), strict=True, extra="forbid")
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error.strerror}): expected the JSON of a benchmark") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedFile(
            f"{file} is no benchmark report ({where}: {first['msg']}): expected the JSON that bench wrote"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(f"{file} is no benchmark report ({error!r}): expected the JSON that bench wrote") from error
