r"""Computes how long scoring takes, and what saturates, from measured rates: the tables of docs/explanation/scale.md.

    python -m benchmarks.scale.model

Rates of CPUs are those of the committed results; those of the GPU are computed from its limits, and were not run. It
writes the tables into the page, and a test compares them.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.bench.report.report import read_report
from wrn_deploy.files.new_file import write_whole

__all__ = ["core_rates", "make_tables"]

RESULTS = Path(__file__).resolve().parents[1] / "results"
PAGE = RESULTS.parents[1] / "docs" / "explanation" / "scale.md"
IMAGES = (10**6, 10**8, 10**10)
BYTES_PER_IMAGE = 107_600  # ImageNet's training images: 137.8 GB in 1,281,167 files
PART_BYTES = 40  # an image's row in a parquet part, measured on 40 parts: id, label, five classes and scores
ENTRY_BYTES = 500  # a shard's record in the ledger
IMAGES_PER_SHARD = 10_000
# WRN-50-2 at batch 256 on an H200: its layers' arithmetic and bytes by the limits in benchmarks/gpu/limits.py; and the
# fraction of the same roofline that MLPerf's ResNet-50 reaches on that GPU.
ROOFLINE, REACHED = {"fp16": 29_300.0, "int8": 58_600.0}, 0.8
CORES, GPUS = 96, 8  # of a node in the tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Images a second of one core: that decodes, that infers, and that does both in turn."""

    decode: float
    infer: float

    @property
    def both(self) -> float:
        """Of one core that decodes an image, then runs it."""
        return 1 / (1 / self.decode + 1 / self.infer)


def main() -> None:
    """Writes the tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, lines in make_tables().items():
        table = "\n".join((f"<!-- scale:{name} begin -->", "", *lines, "", f"<!-- scale:{name} end -->"))
        page = re.sub(rf"<!-- scale:{name} begin -->.*?<!-- scale:{name} end -->", table, page, flags=re.DOTALL)
    write_whole(PAGE, page)


def make_tables() -> dict[str, list[str]]:
    """The lines of each table by its name."""
    made = {"rates": _rates(), "sizes": _sizes(), "times": _times(), "limits": _limits(), "simulated": _simulated()}
    return {name: [*lines] for name, lines in made.items()}


def core_rates(precision: str) -> Rate:
    """WRN-50-2 at 224 x 224 with ONNX Runtime, batches of 8, on one of two cores that are both busy."""
    table = _read("input-2core-epyc.json")["table"]
    decode_ms = next(row["own_cpu_ms"] for row in table if row["candidate"] == "wrn-deploy")
    report = read_report(RESULTS / "bench-wrn-50-2-2core-epyc.json")
    row = next(row for row in report.rows if (row.backend, row.precision) == ("onnxruntime", precision))
    times = next(latency.samples_ms for latency in row.latencies if latency.batch == 8)
    return Rate(decode=1000 / decode_ms, infer=8000 / statistics.median(times) / report.settings.threads)


def _rates() -> Iterator[str]:
    yield "| unit | precision | decodes | runs the network | both, in turn | |"
    yield "|---|---|---|---|---|---|"
    for precision in ("fp32", "int8"):
        rate = core_rates(precision)
        yield f"| CPU core | {precision} | {rate.decode:.0f} | {rate.infer:.1f} | {rate.both:.1f} | measured |"
    for precision, roofline in ROOFLINE.items():
        yield f"| H200 | {precision} | | {_round(roofline * REACHED)} | | computed, not run |"


def _sizes() -> Iterator[str]:
    yield "| images | encoded images | parts | shards | ledger |"
    yield "|---|---|---|---|---|"
    for images in IMAGES:
        shards = images // IMAGES_PER_SHARD
        sizes = (images * BYTES_PER_IMAGE, images * PART_BYTES)
        entries = f"{shards:,} | {_bytes(shards * ENTRY_BYTES)}"
        yield f"| {images:,} | {_bytes(sizes[0])} | {_bytes(sizes[1])} | {entries} |"


def _times() -> Iterator[str]:
    cpu, gpu = _cpu_node(), _gpu_node()
    yield "| images | 1 CPU node | 10 | 100 | 1 GPU node | 10 | core hours | GPU hours |"
    yield "|---|---|---|---|---|---|---|---|"
    for images in IMAGES:
        hours = [images / rate / nodes / 3600 for rate, nodes in ((cpu, 1), (cpu, 10), (cpu, 100), (gpu, 1), (gpu, 10))]
        whole = (hours[0] * CORES, hours[3] * GPUS)
        yield f"| {images:,} | {' | '.join(map(_hours, hours))} | {' | '.join(f'{_round(each)}' for each in whole)} |"
    speeds = (cpu, 10 * cpu, 100 * cpu, gpu, 10 * gpu)
    yield f"| images/s | {' | '.join(map(_round, speeds))} | | |"
    yield f"| read | {' | '.join(f'{_bytes(speed * BYTES_PER_IMAGE)}/s' for speed in speeds)} | | |"


def _limits() -> Iterator[str]:
    """Images a second at which each part of the system is full, by the images in a shard."""
    simulated = [row["driver_s"] for row in _read("scale-2core.json")["rows"]]
    schedule_s = max(simulated) / _read("scale-2core.json")["shards"]
    driver = _read("ray-driver-2core.json")
    ray_s = 1 / statistics.median(driver["shards_per_s"]["2"])
    wait_s = statistics.median(driver["wait_ms"]["1000"]) / 1000
    yield "| images in a shard | the schedule alone | a driver with Ray, few workers | with 1,000 workers |"
    yield "|---|---|---|---|"
    for images in (100, 1_000, 10_000):
        rates = (images / seconds for seconds in (schedule_s, ray_s, ray_s + wait_s))
        yield f"| {images:,} | {' | '.join(f'{_round(rate)} images/s' for rate in rates)} |"


def _simulated() -> Iterator[str]:
    yield "| workers | nodes lost | shards that hang | simulated | ideal | busy | attempts |"
    yield "|---|---|---|---|---|---|---|"
    for row in _read("scale-2core.json")["rows"]:
        times = (_hours(row["simulated_s"] / 3600), _hours(row["ideal_s"] / 3600))
        counts = f"{row['workers']:,} | {row['nodes_lost']} | {row['hanging']}"
        yield f"| {counts} | {times[0]} | {times[1]} | {100 * row['busy']:.1f} % | {row['attempts']:,} |"


def _cpu_node() -> float:
    return CORES * core_rates("int8").both


def _gpu_node() -> float:
    """Eight GPUs wait for 96 cores that decode for them."""
    return min(GPUS * ROOFLINE["int8"] * REACHED, CORES * core_rates("int8").decode)


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def _round(value: float) -> str:
    """Two digits, as in 3,400."""
    digits = len(f"{value:.0f}")
    return f"{round(value, 2 - digits):,.0f}" if digits > 1 else f"{value:.1f}"


def _hours(hours: float) -> str:
    if hours < 1 / 30:
        return f"{_round(hours * 3600)} s"
    if hours < 1:
        return f"{hours * 60:.2g} min"
    return f"{_round(hours)} h" if hours < 72 else f"{_round(hours / 24)} days"


def _bytes(size: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{_round(size / unit)} {name}"
    return f"{size:.0f} B"


if __name__ == "__main__":
    main()
