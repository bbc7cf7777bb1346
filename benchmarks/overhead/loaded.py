r"""Shows whether a benchmark's ratios hold under load: what it quotes must be near what a quiet machine shows.

    python -m benchmarks.overhead.loaded BUNDLE [--data digits] [--runs 20] [--batches 1] [--busy 2] \
        [--quiet REPORT.json] [--out FILE]

It runs `wrn-deploy bench` once on the quiet machine (or reads its report), then `--runs` times with busy cores. A ratio
to the baseline is right if it is within a factor of 1.5 of the quiet machine's, "at least N" if N is at most 1.5 times
of it; "too noisy to conclude" claims nothing. The program ends with code 3 if a ratio of a loaded run is wrong, and
with code 4 if the machine is not quiet: if a ratio of the quiet run does not hold. Turns are shorter than `bench`'s, so
that 20 runs with 2 busy cores take about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from benchmarks.overhead.busy import busy_cores
from wrn_deploy.bench.report.report import Report, read_report
from wrn_deploy.bench.report.verdicts import Verdict
from wrn_deploy.machine import usable_cores
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.process.children import run_child
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.rendering.notes import summary
from wrn_deploy.rendering.remarks import doubts

PROGRAM = "from wrn_deploy.cli import main; main()"
ALLOWED = 1.5  # factor between a quoted ratio and the quiet machine's

Key = tuple[str, int]  # row and batch size


def main() -> int:
    """Runs all benchmarks, writes what each of them quoted, and prints the largest factors."""
    given, console = _arguments(), Console(width=120)
    options = MeasureOptions(
        data=given.data,
        backends=tuple(given.backend),
        batches=tuple(given.batches),
        rounds=given.rounds,
        iterations=given.iterations,
        duration_s=given.duration,
        limit=given.limit,
        pictures=False,
    )
    quiet = read_report(given.quiet) if given.quiet else _bench(given.bundle, options)
    console.print(f"quiet: {summary(quiet)}", *(remark.text for remark in doubts(quiet)), sep="\n", highlight=False)
    if doubts(quiet) and not given.quiet:
        console.print(
            "the machine is not quiet: expected ratios that hold; stop other programs, or give a report to --quiet"
        )
        return 4
    expected = {key: found.ratio for key, found in _verdicts(quiet).items() if found.ratio is not None}
    runs = []
    for index in range(given.runs):
        start = time.monotonic()
        with busy_cores(given.busy):
            report = _bench(given.bundle, options)
        runs.append(_judge(report, expected))
        seconds = time.monotonic() - start
        console.print(f"run {index + 1}, {seconds:.0f} s: {summary(report)}", highlight=False)
    table = [_count(key, runs) for key in expected]
    record = {
        **start_record("loaded", "onnxruntime", "torch", "numpy"),
        "bundle": given.bundle.name,
        "busy_cores": given.busy,
        "allowed": ALLOWED,
        "settings": dataclasses.asdict(quiet.settings),
        "quiet": {f"{name} at batch {batch}": ratio for (name, batch), ratio in expected.items()},
        "table": table,
        "runs": runs,
    }
    write_record(given.out, record)
    console.print(_table(table))
    return 0 if all(row["largest_factor"] <= ALLOWED for row in table) else 3


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--runs", type=int, default=20, help="runs with busy cores (default 20)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1], help="batch sizes (default 1)")
    parser.add_argument("--backend", nargs="+", default=["torch", "onnxruntime"], help="default torch onnxruntime")
    parser.add_argument("--rounds", type=int, default=10, help="as bench --rounds (default 10)")
    parser.add_argument("--iterations", type=int, default=10, help="as bench --iterations (default 10)")
    parser.add_argument("--duration", type=float, default=0.3, help="as bench --duration (default 0.3)")
    parser.add_argument("--limit", type=int, default=64, help="images whose answers are compared (default 64)")
    parser.add_argument("--busy", type=int, default=usable_cores(), help="busy cores (default all)")
    parser.add_argument("--quiet", type=Path, help="bench.json of the quiet machine (default: measure it first)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loaded.json"))
    return parser.parse_args()


def _bench(bundle: Path, options: MeasureOptions) -> Report:
    """Runs the command in a process of its own: it must not take the busy processes for its own children."""
    backends = [word for backend in options.backends or () for word in ("--backend", backend)]
    numbers = {
        "--batches": ",".join(map(str, options.batches)),
        "--rounds": options.rounds,
        "--iterations": options.iterations,
        "--duration": options.duration_s,
        "--limit": options.limit,
    }
    words = [str(word) for pair in numbers.items() for word in pair]
    with scratch_folder() as folder:
        command = [sys.executable, "-c", PROGRAM, "bench", str(bundle), "--data", options.data, "--no-pictures"]
        done = run_child([*command, *backends, *words, "--out", str(folder)])
        if done.returncode:
            sys.exit(done.stderr)
        return read_report(folder / "bench.json")


def _verdicts(report: Report) -> dict[Key, Verdict]:
    """The verdicts on all ratios to the baseline."""
    found = ((row.row, batch, verdict) for row in report.derived.rows for batch, verdict in row.ratios.items())
    return {(name, batch): verdict for name, batch, verdict in found if verdict is not None}


def _judge(report: Report, expected: dict[Key, float]) -> list[dict[str, Any]]:
    """What one run quotes, the factor by which it is wrong, and the ratio that it would quote without the rule."""
    medians = {(row.row, one.batch): one.median_ms for row in report.derived.rows for one in row.latencies}
    verdicts = _verdicts(report)
    return [
        {
            "row": name,
            "batch": batch,
            "words": verdicts[name, batch].words,
            "because": verdicts[name, batch].because,
            "factor": factor_of(verdicts[name, batch], ratio),
            "taken": report.taken(batch),
            "of_medians": medians[name, batch] / medians[report.baseline or "", batch],
        }
        for (name, batch), ratio in expected.items()
        if (name, batch) in verdicts
    ]


def factor_of(verdict: Verdict, expected: float) -> float:
    """How many times as far as `expected` what is quoted lies, at least 1; a bound is wrong only if it claims more."""
    if verdict.ratio is not None:
        return max(verdict.ratio / expected, expected / verdict.ratio)
    if verdict.faster and verdict.high is not None:
        return max(1.0, expected / verdict.high)
    if verdict.slower and verdict.low is not None:
        return max(1.0, verdict.low / expected)
    return 1.0


def _count(key: Key, runs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    own = [found for run in runs for found in run if (found["row"], found["batch"]) == key]
    kinds = collections.Counter("at least" if found["words"].startswith("at least") else
                                "too noisy" if found["because"] else "quoted" for found in own)  # fmt: skip
    return {
        "row": key[0],
        "batch": key[1],
        "runs": len(own),
        **{kind.replace(" ", "_"): kinds[kind] for kind in ("quoted", "at least", "too noisy")},
        "largest_factor": max((found["factor"] for found in own), default=1.0),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    names = ("batch", "runs", "quoted", "at_least", "too_noisy")
    table = make_table("candidate", *names, "largest factor", caption=f"factor to the quiet ratio, allowed: {ALLOWED}")
    for row in rows:
        table.add_row(row["row"], *(str(row[name]) for name in names), f"{row['largest_factor']:.2f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
