"""What a benchmark measured: raw samples with their conditions, as data; rendering is in the files beside this one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wrn_deploy.errors import DeployError
from wrn_deploy.machine import Gpu, Machine
from wrn_deploy.spec import Precision

__all__ = ["Accuracy", "Latency", "LatencySummary", "Report", "Row", "Settings", "read_report", "summarize"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Latency:
    """Raw times of one contender at one batch size, in milliseconds, in the order they were taken."""

    batch: int
    samples_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Statistics of one Latency; throughput is batch / median."""

    batch: int
    count: int
    min_ms: float
    median_ms: float
    p90_ms: float
    p99_ms: float
    images_per_s: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 on labelled images; `agreement` is the share of images with the same argmax as the fp32 reference row."""

    images: int
    correct: int
    agreement: float | None

    @property
    def top1(self) -> float:
        """The share of images classified right, 0..1."""
        return self.correct / self.images


@dataclass(frozen=True, slots=True)
class Row:
    """One contender. A row that did not run has `skipped`, the reason, and no measurements."""

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

    @property
    def name(self) -> str:
        """As in "ONNX Runtime int8"."""
        return f"{self.title} {self.precision}"


@dataclass(frozen=True, slots=True)
class Settings:
    """How it was measured; `boundary` names the section that was timed, the same for every row."""

    batches: tuple[int, ...]
    rounds: int
    iterations: int
    threads: int
    boundary: str


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark of one bundle.

    `data_digest` identifies the images (see `wrn_deploy/data/digest.py`); `corrupt` names those left out.
    `reference` is the name of the row that `agreement` refers to.
    """

    model: str
    random_weights: bool
    created: str
    data: str
    data_digest: str
    corrupt: tuple[str, ...]
    reference: str | None
    machine: Machine
    versions: Mapping[str, str]
    settings: Settings
    rows: tuple[Row, ...]

    @property
    def timed(self) -> bool:
        """Whether any row has latencies; a report of accuracy alone has none."""
        return any(row.latencies for row in self.rows)

    def to_json(self) -> str:
        """The report as a JSON text: everything, raw samples included, and the derived statistics beside them."""
        record = {"format": FORMAT, **dataclasses.asdict(self)}
        for row, plain in zip(self.rows, record["rows"], strict=True):
            plain["latencies"] = [
                {**latency, "summary": dataclasses.asdict(summarize(raw))}
                for raw, latency in zip(row.latencies, plain["latencies"], strict=True)
            ]
            if row.accuracy is not None:
                plain["accuracy"]["top1"] = row.accuracy.top1
        return json.dumps(record, indent=1) + "\n"


def summarize(latency: Latency) -> LatencySummary:
    """min, median, 90th and 99th percentile (linear interpolation between samples)."""
    samples = np.asarray(latency.samples_ms, dtype=np.float64)
    median, p90, p99 = (float(value) for value in np.percentile(samples, [50, 90, 99]))
    throughput = latency.batch / median * 1000.0
    return LatencySummary(latency.batch, len(samples), float(samples.min()), median, p90, p99, throughput)


def read_report(file: Path) -> Report:
    """Reads what `Report.to_json` wrote.

    Raises:
        DeployError: the file is missing, damaged, or of another format.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise DeployError(f"{file} has another format: expected {FORMAT}; run the benchmark again")
        machine = {**record["machine"], "gpu": Gpu(**record["machine"]["gpu"]) if record["machine"]["gpu"] else None}
        typed = {
            "corrupt": tuple(record["corrupt"]),
            "machine": Machine(**machine),
            "settings": Settings(**{**record["settings"], "batches": tuple(record["settings"]["batches"])}),
            "rows": tuple(_row(row) for row in record["rows"]),
        }
        return Report(**{**record, **typed})
    except OSError as error:
        raise DeployError(f"{file} cannot be read ({error.strerror}): expected the JSON of a benchmark") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeployError(f"{file} is no benchmark report ({error!r}): expected the JSON that bench wrote") from error


def _row(record: dict[str, Any]) -> Row:
    accuracy = record["accuracy"]
    typed = {
        "precision": Precision(record["precision"]),
        "latencies": tuple(Latency(raw["batch"], tuple(raw["samples_ms"])) for raw in record["latencies"]),
        "accuracy": accuracy and Accuracy(accuracy["images"], accuracy["correct"], accuracy["agreement"]),
    }
    return Row(**{**record, **typed})
