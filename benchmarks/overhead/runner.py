r"""Measures what the Runner costs: cold start, microseconds added to a call, and calls by many threads.

    python -m benchmarks.overhead.runner BUNDLE [--precision fp32] [--seconds 60] [--threads 8] [--out FILE]

- Cold start: `python -c` that opens the bundle with ONNX Runtime and predicts one image, minus that of `pass`.
- A call: `Runner.predict` and `Runner.predict_into` on normalised images, compared with the bare ONNX Runtime session
  on the same array; one CPU thread, in turns call by call, batch sizes 1 and 8. The cost of the check for NaN is the
  median ratio of two calls in one turn, with the check and without it (allow_nonfinite).
- Threads: N threads call one Runner at once; each answer must equal, bit for bit, what one thread got before. The
  resident set is read after a tenth of the time and at the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy import Runner
from wrn_deploy.runtime.sessions import open_session

COLD = """
import sys
import numpy as np
from wrn_deploy import Runner
with Runner.open(sys.argv[1], precision=sys.argv[2], backend="onnxruntime") as runner:
    source = runner.inputs[0]
    runner.predict(np.zeros((1, *source.shape), source.dtype))
assert not {"torch", "onnx"} & set(sys.modules), "a heavy package was loaded"
"""
TURNS, CALLS = 20, 600

Images = npt.NDArray[Any]


def main() -> None:
    """Measures all three, writes the raw numbers, and prints the table."""
    given = _arguments()
    console = Console(width=120)
    cold = _cold_start(given.bundle, given.precision)
    calls = {batch: _calls(given, batch) for batch in (1, 8)}
    soak = _many_threads(given)
    record = {
        **start_record("runner", "onnxruntime", "numpy"),
        "bundle": given.bundle.name,
        "precision": given.precision,
        "cold_start_s": cold,
        "calls_us": {str(batch): samples for batch, samples in calls.items()},
        "threads": soak,
    }
    write_record(given.out, record)
    minimum, median = (pick(cold["runner"]) - pick(cold["python"]) for pick in (min, statistics.median))
    console.print(f"Cold start beyond Python's own: minimum {minimum:.3f} s, median {median:.3f} s")
    console.print(_table(calls))
    for batch, samples in calls.items():
        pairs = zip(samples["predict"], samples["predict, unchecked"], strict=True)
        ratio = statistics.median(checked / other for checked, other in pairs)
        console.print(f"Batch {batch}: a call with the check takes {ratio:.4f} times that of one without")
    console.print(
        f"{soak['threads']} threads, {soak['seconds']:.0f} s: {soak['calls']} calls, {soak['errors']} errors, "
        f"{soak['differing']} answers that differ; resident set {soak['rss_early_bytes'] / 1e6:.1f} MB after a tenth, "
        f"{soak['rss_late_bytes'] / 1e6:.1f} MB at the end"
    )


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the threads call (default 60)")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/runner.json"))
    return parser.parse_args()


def _cold_start(bundle: Path, precision: str) -> dict[str, list[float]]:
    """Seconds of whole processes, in turns."""
    seconds: dict[str, list[float]] = {"python": [], "runner": []}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(TURNS):
        for name, code in (("python", "pass"), ("runner", COLD)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, str(bundle), precision], check=True, env=environment)
            seconds[name].append(round(time.perf_counter() - start, 4))
    return seconds


def _calls(given: Any, batch: int) -> dict[str, list[float]]:
    """Microseconds of each call."""
    how: dict[str, Any] = {"precision": given.precision, "backend": "onnxruntime", "threads": 1}
    with (
        Runner.open(given.bundle, **how) as runner,
        Runner.open(given.bundle, allow_nonfinite=True, **how) as unchecked,
    ):
        session = open_session(_graph(runner), threads=1)
        name, images, out = runner.inputs[0].name, _images(runner, batch), _out(runner, batch)
        candidates: dict[str, Callable[[], Any]] = {
            "bare session": lambda: session.run(None, {name: images}),
            "predict": lambda: runner.predict(images),
            "predict, unchecked": lambda: unchecked.predict(images),
            "predict_into": lambda: runner.predict_into(images, out),
        }
        samples: dict[str, list[float]] = {call: [] for call in candidates}
        order = [*candidates.items()]
        for turn in range(10 + CALLS):
            for call, run in order if turn % 2 else reversed(order):
                start = time.perf_counter_ns()
                run()
                if turn >= 10:
                    samples[call].append((time.perf_counter_ns() - start) / 1e3)
    return samples


def _many_threads(given: Any) -> dict[str, Any]:
    """Calls from many threads at once, on batches of 1 to 4 images."""
    with Runner.open(given.bundle, precision=given.precision, backend="onnxruntime", threads=1) as runner:
        batches = [_images(runner, 1 + index % 4, index) for index in range(8)]
        wanted = [runner.predict(batch) for batch in batches]
        end = time.monotonic() + given.seconds
        counts, problems = [0] * given.threads, list[str]()

        def ask(thread: int) -> None:
            while time.monotonic() < end:
                index = (counts[thread] + thread) % len(batches)
                try:
                    if not np.array_equal(runner.predict(batches[index]), wanted[index]):
                        problems.append("differs")
                except Exception as error:  # noqa: BLE001 (each is counted)
                    problems.append(repr(error))
                counts[thread] += 1

        threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(given.threads)]
        for thread in threads:
            thread.start()
        time.sleep(given.seconds / 10)
        early = _resident_bytes()
        for thread in threads:
            thread.join()
        late = _resident_bytes()
    differing = problems.count("differs")
    return {
        "threads": given.threads,
        "seconds": given.seconds,
        "calls": sum(counts),
        "errors": len(problems) - differing,
        "differing": differing,
        "first_error": next((problem for problem in problems if problem != "differs"), None),
        "rss_early_bytes": early,
        "rss_late_bytes": late,
    }


def _graph(runner: Runner) -> Path:
    key = "onnx-fp32" if runner.precision == "fp32" else f"onnx-{runner.precision}-onnxruntime"
    return runner.bundle.file(runner.bundle.artifacts[key])


def _images(runner: Runner, count: int, seed: int = 0) -> Images:
    source, random = runner.inputs[0], np.random.default_rng(seed)
    shape = (count, *source.shape)
    return (
        random.integers(0, 256, shape, np.uint8) if source.dtype == "uint8" else random.normal(size=shape).astype("f4")
    )


def _out(runner: Runner, count: int) -> Images:
    return np.empty((count, *runner.outputs[0].shape), runner.outputs[0].dtype)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _table(calls: dict[int, dict[str, list[float]]]) -> Table:
    table = make_table(
        "call", "batch", "min us", "median us", "added, min us", "added, median us", "added, median %",
        caption="added: over the bare session, difference of the minima and of the medians",
    )  # fmt: skip
    for batch, samples in calls.items():
        minimum, median = min(samples["bare session"]), statistics.median(samples["bare session"])
        for name, own in samples.items():
            more = statistics.median(own) - median
            added = (f"{min(own) - minimum:.1f}", f"{more:.1f}", f"{100 * more / median:.2f}")
            table.add_row(name, str(batch), f"{min(own):.1f}", f"{statistics.median(own):.1f}", *added)
    return table


if __name__ == "__main__":
    main()
