r"""Shows whether the benchmark is right: it must find a planted slowdown, and no difference between two copies.

    python -m benchmarks.overhead.honesty BUNDLE [--data digits] [--runs 20] [--batches 1 8] \
        [--slower 0.1] [--idle] [--out FILE]

Each run measures two candidates with the default settings of `wrn-deploy bench`, in fp32 on ONNX Runtime's CPU
provider, while another process keeps one core busy (not with `--idle`). In turns:

- copies: the candidate and a copy of it; right is an interval of their ratio that contains 1;
- slowed: the candidate and a copy that spins for 10 % of its own time after each inference; right is an interval
  above 1.

19 of 20 runs of each kind must be right, at each batch size; otherwise the program ends with code 3.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import wrn_deploy.backends
from benchmarks.output import make_table, start_record, write_record
from benchmarks.overhead.busy import busy_cores
from wrn_deploy.bench.measuring.watch import MachineWatch, git_revision, watch_machine
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.ratios import CONFIDENCE, paired_ratio
from wrn_deploy.bench.report.report import Boundary, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import usable_cores
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.pipeline.measuring.rounds import RowBuilder, start, time_rounds
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import examine
from wrn_deploy.spec import Precision

BASE = "onnxruntime"
KINDS = {"copies": "copy", "slowed": "slowed_copy"}

# ONNX Runtime's CPU backend again, which may spin for a share of its own time after each inference.
PLUGIN = """
import time
from wrn_deploy.backends.onnxruntime import OnnxRuntimeBackend, SessionRuntime
from wrn_deploy.runtime.providers import CPU
from wrn_deploy.runtime.sessions import open_session
from wrn_deploy.spec import Precision

SLOWER = {slower}

class Slowed(OnnxRuntimeBackend):
    def execute(self):
        start = time.perf_counter_ns()
        super().execute()
        end = start + (time.perf_counter_ns() - start) * (1 + SLOWER)
        while time.perf_counter_ns() < end:
            pass

class Runtime(SessionRuntime):
    def open_backend(self, bundle, artifact, *, precision, threads):
        made = Slowed if SLOWER else OnnxRuntimeBackend
        return made(open_session(bundle.file(artifact), threads), CPU, bundle.spec.input, bundle.spec.outputs)

RUNTIMES = {{
    "{name}": Runtime(title="{name}", provider=CPU, graphs={{Precision.FP32: "onnx-fp32"}}, extra="cpu")
}}
"""


def main() -> int:
    """Runs both kinds in turns, writes what each run found, and prints the counts."""
    given, watch, console = _arguments(), watch_machine(), Console(width=120)
    options = MeasureOptions(data=given.data, batches=tuple(given.batches))
    settings = Settings(
        batches=options.batches,
        rounds=options.rounds,
        duration_s=options.duration_s,
        iterations=options.iterations,
        threads=usable_cores(),
        streams=1,
        boundary=Boundary.COMPUTE,
    )
    runs: list[dict[str, Any]] = []
    with _planted(given.slower), busy_cores(0 if given.idle else 1):
        for index in range(given.runs):
            for kind in KINDS:
                runs += _measure(given, settings, kind, watch)
                for found in runs[-len(settings.batches) :]:
                    interval = f"{found['low']:.4f} to {found['high']:.4f}"
                    console.print(f"run {index + 1}, {kind}, batch {found['batch']}: {found['ratio']:.4f} ({interval})")
    table = [_count(kind, batch, runs) for kind in KINDS for batch in settings.batches]
    record = {
        **start_record("honesty", "onnxruntime", "numpy"),
        "bundle": given.bundle.name,
        "slower": given.slower,
        "busy_cores": 0 if given.idle else 1,
        "settings": dataclasses.asdict(settings),
        "environment": dataclasses.asdict(watch.end(usable_cores(), git_revision())),
        "table": table,
        "runs": runs,
    }
    write_record(given.out, record)
    console.print(_table(table))
    return 0 if all(row["right"] >= row["needed"] for row in table) else 3


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind (default 20)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="batch sizes (default 1 8)")
    parser.add_argument("--slower", type=float, default=0.1, help="a share of the time (default 0.1)")
    parser.add_argument("--idle", action="store_true", help="keep no core busy")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/honesty.json"))
    return parser.parse_args()


def _measure(given: Any, settings: Settings, kind: str, watch: MachineWatch) -> list[dict[str, Any]]:
    """Times two candidates in rounds, as `wrn-deploy bench` does; returns what was found at each batch size."""
    bundle = Bundle.open(given.bundle)
    names = (BASE, KINDS[kind])
    found = {name: examine(bundle, name, Precision.FP32) for name in names}
    entries = [RowBuilder(backend=name, precision=Precision.FP32, found=found[name], skipped=None) for name in names]
    with contextlib.ExitStack() as stack:
        for entry in entries:
            start(entry, stack, WorkerConfig(
                folder=str(given.bundle), backend=entry.backend, precision=entry.precision, threads=settings.threads,
                data=given.data, limit=None, max_corrupt=0, accuracy_batch=8,
            ))  # fmt: skip
        time_rounds(entries, settings, Silent(), watch)
    failed = next((entry for entry in entries if entry.skipped), None)
    if failed is not None:
        raise DeployError(f"{failed.name} failed: {failed.skipped}")
    return [_found(kind, batch, entries) for batch in settings.batches]


def _found(kind: str, batch: int, entries: list[RowBuilder]) -> dict[str, Any]:
    base, other = (entry.latency(batch).rounds_ms for entry in entries)
    ratio = paired_ratio(other, base)
    assert ratio is not None, "the default settings have enough rounds"
    return {
        "kind": kind,
        "batch": batch,
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "right": ratio.low > 1 if kind == "slowed" else not ratio.shown,
        "load_1min": os.getloadavg()[0],
        "round_medians_ms": [[statistics.median(times) for times in rounds] for rounds in (base, other)],
    }


@contextlib.contextmanager
def _planted(slower: float) -> Iterator[None]:
    """Adds both copies to the backends, here and in child processes."""
    with scratch_folder() as folder:
        site = folder / "site"
        site.mkdir()
        for kind, plugin in KINDS.items():
            text = PLUGIN.format(name=plugin, slower=slower if kind == "slowed" else 0)
            (folder / f"{plugin}.py").write_text(text, encoding="utf-8")
        (site / "sitecustomize.py").write_text(f"import wrn_deploy.backends as b; b.__path__.append({str(folder)!r})\n")
        before = os.environ.get("PYTHONPATH")
        root = str(Path(wrn_deploy.__file__).resolve().parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), root])
        wrn_deploy.backends.__path__.append(str(folder))
        try:
            yield
        finally:
            wrn_deploy.backends.__path__.remove(str(folder))
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


def _count(kind: str, batch: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    own = [run for run in runs if (run["kind"], run["batch"]) == (kind, batch)]
    return {
        "kind": kind,
        "batch": batch,
        "runs": len(own),
        "right": sum(run["right"] for run in own),
        "needed": math.floor(CONFIDENCE * len(own)),
        "ratio": statistics.median(run["ratio"] for run in own),
        "width": statistics.median(run["high"] - run["low"] for run in own),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = make_table(
        "candidates", "batch", "runs", "right", "needed", "ratio", "width",
        caption="ratio and width of the interval: medians over the runs",
    )  # fmt: skip
    for row in rows:
        counts = (str(row[name]) for name in ("batch", "runs", "right", "needed"))
        table.add_row(row["kind"], *counts, f"{row['ratio']:.4f}", f"{row['width']:.4f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
