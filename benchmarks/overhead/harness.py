r"""Measures what the benchmark itself adds to a call, compared with a bare loop around the same ONNX Runtime session.

    python -m benchmarks.overhead.harness BUNDLE [--data digits] [--rounds 40] [--calls 50] [--threads 1] [--out FILE]

Three ways take turns, round by round, at batch sizes 1 and 8, in fp32:

- bare: a loop with `time.perf_counter_ns` around `session.run_with_iobinding`, and nothing else;
- in process: `bench.measuring.latency.measure_latency` on `section_of`, with the same session and buffers;
- worker: the same in another process, `bench.measuring.isolate.Worker`, as `wrn-deploy bench` does it.

"Added" is the median over the rounds of the difference of the two medians in a round; the interval is that of
`paired_ratio`. An empty section shows the cost of the clock itself, without the noise of a network. The program ends
with code 3 if a way adds 1 % and 20 us or more.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.backends.onnxruntime import OnnxRuntimeBackend
from wrn_deploy.bench.measuring.isolate import Worker
from wrn_deploy.bench.measuring.latency import measure_latency, section_of
from wrn_deploy.bench.measuring.watch import git_revision, watch_machine
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.ratios import paired_ratio
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, as_input
from wrn_deploy.machine import usable_cores
from wrn_deploy.pipeline.measuring.rounds import PAUSE_S
from wrn_deploy.runtime.backend import Backend
from wrn_deploy.runtime.providers import CPU
from wrn_deploy.runtime.sessions import open_session
from wrn_deploy.spec import Precision

BATCHES = (1, 8)
WARM_UP_S = 0.5
MAX_SHARE, MAX_US = 0.01, 20.0
WAYS = ("bare", "in process", "worker")

Rounds = list[list[float]]


class _Bare(OnnxRuntimeBackend):
    """The backend that is measured, with access to its session."""

    def bare(self, calls: int) -> list[float]:
        """Times calls of the session alone, in ms, after one call that is not counted, as in `measure_latency`."""
        assert self._binding is not None
        run, binding, times = self._session.run_with_iobinding, self._binding.bound, []
        run(binding)
        for _ in range(calls):
            start = time.perf_counter_ns()
            run(binding)
            times.append((time.perf_counter_ns() - start) / 1e6)
        return times


def main() -> int:
    """Measures, writes the raw numbers, and prints the table."""
    given, watch = _arguments(), watch_machine()
    with _open_worker(given) as worker:
        samples = {batch: _rounds(given, worker, batch, watch.look) for batch in BATCHES}
    empty = _empty_section()
    rows = [_row(batch, way, samples[batch]) for batch in BATCHES for way in WAYS]
    record = {
        **start_record("harness", "onnxruntime", "numpy"),
        "bundle": given.bundle.name,
        "precision": "fp32",
        "threads": given.threads,
        "environment": dataclasses.asdict(watch.end(usable_cores(), git_revision())),
        "empty_section_us": empty,
        "table": rows,
        "rounds_ms": {str(batch): ways for batch, ways in samples.items()},
    }
    write_record(given.out, record)
    console = Console(width=120)
    console.print(_table(rows))
    console.print(f"An empty section takes {empty:.2f} us (median), a bare loop's clock included.")
    within = all(row["added_us"] < MAX_US or row["added_share"] < MAX_SHARE for row in rows)
    console.print("Every way adds less than 1 % or 20 us." if within else "A way adds 1 % and 20 us, or more.")
    return 0 if within else 3


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=50, help="calls of a way in a round (default 50)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/harness.json"))
    return parser.parse_args()


def _open_worker(given: Any) -> Worker:
    return Worker(WorkerConfig(
        folder=str(given.bundle), backend="onnxruntime", precision=Precision.FP32, threads=given.threads,
        data=given.data, limit=None, max_corrupt=0, accuracy_batch=8,
    ))  # fmt: skip


def _rounds(given: Any, worker: Worker, batch: int, look: Callable[[], None]) -> dict[str, Rounds]:
    """Times each call, in ms, by way and round; each round begins with another way."""
    bundle = Bundle.open(given.bundle)
    spec = bundle.spec
    session = open_session(bundle.file(bundle.artifacts["onnx-fp32"]), given.threads)
    source, samples = open_data(given.data, Role.TEST), {way: Rounds() for way in WAYS}
    with _Bare(session, CPU, spec.input, spec.outputs) as backend, ThreadPoolExecutor(1) as pool:

        def prepare() -> Any:
            return as_input(
                next(iter(Batches(source, spec.preprocessing, batch))).images, spec.preprocessing, spec.input
            )

        section = section_of([cast("Backend", backend)], Boundary.COMPUTE, prepare, pool)
        ways = {
            "bare": lambda: backend.bare(given.calls),
            "in process": lambda: list(measure_latency(section, given.calls).host_ms),
            "worker": lambda: list(worker.time(batch, given.calls).host_ms),
        }
        end = time.monotonic() + WARM_UP_S
        while time.monotonic() < end:
            section()
        worker.warm_up(batch, WARM_UP_S, 10 * WARM_UP_S)
        for index in range(given.rounds):
            first = index % len(WAYS)
            for way in WAYS[first:] + WAYS[:first]:
                time.sleep(PAUSE_S)
                samples[way].append(ways[way]())
            look()
    return samples


def _empty_section() -> float:
    return float(np.median(measure_latency(lambda: None, 20_000).host_ms)) * 1000


def _row(batch: int, way: str, samples: dict[str, Rounds]) -> dict[str, Any]:
    medians = {name: np.median(rounds, axis=1) for name, rounds in samples.items()}
    ratio = paired_ratio(samples[way], samples["bare"])
    added_ms = float(np.median(medians[way] - medians["bare"]))
    return {
        "batch": batch,
        "way": way,
        "min_us": 1000 * float(np.min(samples[way])),
        "median_us": 1000 * float(np.median(samples[way])),
        "added_us": 1000 * added_ms,
        "added_share": added_ms / float(np.median(medians["bare"])),
        "ratio": None if ratio is None or way == "bare" else [ratio.value, ratio.low, ratio.high],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = make_table(
        "way", "batch", "min us", "median us", "added us", "added %", "ratio", "95 % interval",
        caption="added: over the bare loop in the same rounds, medians",
    )  # fmt: skip
    for row in rows:
        value, low, high = row["ratio"] or (None, None, None)
        added = ("", "") if value is None else (f"{row['added_us']:.2f}", f"{100 * row['added_share']:.3f}")
        interval = ("", "") if value is None else (f"{value:.4f}", f"{low:.4f} to {high:.4f}")
        times = (f"{row['min_us']:.1f}", f"{row['median_us']:.1f}")
        table.add_row(row["way"], str(row["batch"]), *times, *added, *interval)
    return table


if __name__ == "__main__":
    sys.exit(main())
