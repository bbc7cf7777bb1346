r"""Measures the C library with Python inside: start-up, memory, microseconds added to a call, several threads.

    python -m benchmarks.overhead.embedding BUNDLE [--precision fp32] [--out FILE]

- Start: a C++ program's first call (which starts Python), opening the bundle, the first inference, with the resident
  set after each; then one call that does nothing (`wrn_describe`), which shows the way from C to Python and back.
- A call: from C++, compared with `Runner.predict_into` in Python and the bare ONNX Runtime session, on normalised
  images; and from C++ on pixels. Batch sizes 1 and 8, one CPU thread. The two processes take turns, and one waits
  while the other works.
- Threads: calls per second of 1, 2 and 4 threads on one runner; each inference uses one CPU thread.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy import Runner
from wrn_deploy.embed.package import write_package
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import open_session

STARTS, TURNS, CALLS = 15, 60, 20
STAGES = ("program", "python", "opened", "first", "crossing")
BATCHES, THREADS = (1, 8), (1, 2, 4)
SOURCE = Path(__file__).with_suffix(".cpp")


def main() -> None:
    """Builds library and program, measures, writes the raw numbers, and prints the tables."""
    given = _arguments()
    with scratch_folder() as folder:
        program = [str(_build(folder)), str(given.bundle), given.precision]
        starts = [_stages(_start(program)) for _ in range(STARTS)]
        calls = {batch: _calls(given, program, batch) for batch in BATCHES}
        rates = _rates(program)
    record = {
        **start_record("embedding", "onnxruntime", "numpy", "cffi"),
        "bundle": given.bundle.name,
        "precision": given.precision,
        "starts": starts,
        "calls_us": {str(batch): samples for batch, samples in calls.items()},
        "calls_a_second": rates,
    }
    write_record(given.out, record)
    for table in (_start_table(starts), _call_table(calls), _rate_table(rates)):
        Console(width=120).print(table, "", sep="\n")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/embedding.json"))
    return parser.parse_args()


def _build(folder: Path) -> Path:
    write_package(folder / "library", Silent(), python=True)
    library, program = folder / "library", folder / "embedding"
    flags = [f"-I{library}/include", f"-L{library}/lib", f"-Wl,-rpath,{library}/lib", "-lwrn_runner", "-pthread"]
    subprocess.run(["g++", "-std=c++17", "-O2", str(SOURCE), *flags, "-o", str(program)], check=True)
    return program


def _start(program: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _stages(started: subprocess.Popen[str]) -> dict[str, list[int]]:
    """Nanoseconds and resident bytes of each stage; ends the process."""
    out, _ = started.communicate("")
    return {line.split()[0]: [int(number) for number in line.split()[1:]] for line in out.splitlines()}


def _ask(started: subprocess.Popen[str], *numbers: int) -> list[int]:
    """Nanoseconds of one request: of all its calls together, then of each call of the first thread."""
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.write(" ".join(map(str, numbers)) + "\n")
    started.stdin.flush()
    return [int(number) for number in started.stdout.readline().split()]


def _ready(program: list[str]) -> subprocess.Popen[str]:
    started = _start(program)
    assert started.stdout is not None
    for _ in STAGES:
        started.stdout.readline()
    return started


def _calls(given: Any, program: list[str], batch: int) -> dict[str, list[float]]:
    """Microseconds of each call."""
    child = _ready(program)
    with Runner.open(given.bundle, precision=given.precision, backend="onnxruntime", threads=1) as runner, child:
        key = "onnx-fp32" if runner.precision == "fp32" else f"onnx-{runner.precision}-onnxruntime"
        session = open_session(runner.bundle.file(runner.bundle.artifacts[key]), threads=1)
        source = runner.inputs[0]
        images = np.zeros((batch, *source.shape), source.dtype)
        out = np.empty((batch, *runner.outputs[0].shape), runner.outputs[0].dtype)
        candidates: dict[str, Callable[[], list[float]]] = {
            "bare session": lambda: _timed(lambda: session.run(None, {source.name: images})),
            "Runner.predict_into": lambda: _timed(lambda: runner.predict_into(images, out)),
            "wrn_infer": lambda: [each / 1e3 for each in _ask(child, 1, CALLS, 0, batch)[1:]],
            "wrn_infer, pixels": lambda: [each / 1e3 for each in _ask(child, 1, CALLS, 1, batch)[1:]],
        }
        samples: dict[str, list[float]] = {name: [] for name in candidates}
        for turn in range(2 + TURNS):
            for name, call in candidates.items():
                own = call()
                if turn >= 2:
                    samples[name] += own[1:]  # the first call of a turn finds cold caches
    return samples


def _timed(call: Callable[[], object]) -> list[float]:
    samples = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        call()
        samples.append((time.perf_counter_ns() - start) / 1e3)
    return samples


def _rates(program: list[str]) -> dict[str, dict[str, list[float]]]:
    """Calls per second, in turns."""
    rates: dict[str, dict[str, list[float]]] = {dtype: {str(n): [] for n in THREADS} for dtype in ("float32", "uint8")}
    with _ready(program) as child:
        for turn in range(1 + 10):
            for dtype, threads in itertools.product(rates, THREADS):
                seconds = _ask(child, threads, 100, int(dtype == "uint8"), 1)[0] / 1e9
                if turn > 0:
                    rates[dtype][str(threads)].append(round(threads * 100 / seconds, 1))
    return rates


def _start_table(starts: list[dict[str, list[int]]]) -> Table:
    table = make_table("stage", "min ms", "median ms", "resident MB after it", caption=f"{len(starts)} processes")
    for name in STAGES:
        milliseconds = [start[name][0] / 1e6 for start in starts]
        resident = statistics.median(start[name][1] / 1e6 for start in starts)
        table.add_row(name, f"{min(milliseconds):.3f}", f"{statistics.median(milliseconds):.3f}", f"{resident:.1f}")
    return table


def _call_table(calls: dict[int, dict[str, list[float]]]) -> Table:
    table = make_table(
        "call", "batch", "min us", "median us", "added, min us", "added, median us",
        caption="added: over the bare session, difference of the minima and of the medians",
    )  # fmt: skip
    for batch, samples in calls.items():
        minimum, median = min(samples["bare session"]), statistics.median(samples["bare session"])
        for name, own in samples.items():
            added = (f"{min(own) - minimum:.1f}", f"{statistics.median(own) - median:.1f}")
            table.add_row(name, str(batch), f"{min(own):.1f}", f"{statistics.median(own):.1f}", *added)
    return table


def _rate_table(rates: dict[str, dict[str, list[float]]]) -> Table:
    threads = (f"{n} threads" for n in THREADS)
    table = make_table("images", *threads, caption="calls per second, median of the turns, batch 1")
    for dtype, own in rates.items():
        table.add_row(dtype, *(f"{statistics.median(own[str(n)]):.0f}" for n in THREADS))
    return table


if __name__ == "__main__":
    main()
