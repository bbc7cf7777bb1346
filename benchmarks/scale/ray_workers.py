r"""Compares scoring on a local Ray cluster with one and with two workers, and without Ray: in turns, with raw times.

    python -m benchmarks.scale.ray_workers BUNDLE DATA [--rounds 3] [--precision int8] [--out FILE]

DATA are shards, such as tar files. Each command scores all of them into a new folder, as a user would start it:
`--threads 1`, and `--ray local` with `--ray-workers 1` and `2`. Times are of the whole command, and of the shards with
the opening of the bundle, as the command's progress tells them: without the start of Python and of Ray. The parts of
all runs must be the same bytes. Run it on an idle machine: workers share its cores with the driver.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.process.scratch import scratch_folder

PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
RAY = ("--ray", "local", "--ray-workers")
KINDS: Mapping[str, tuple[str, ...]] = {
    "no Ray, 1 thread": ("--threads", "1"),
    "Ray, 1 worker": (*RAY, "1"),
    "Ray, 2 workers": (*RAY, "2"),
}
DONE = re.compile(r"^Scoring[^\n]*: ([0-9.]+) s$", re.MULTILINE)  # the line that ends the progress


def main() -> None:
    """Runs all kinds in turns, writes the raw times, and prints a table."""
    given, load = _arguments(), os.getloadavg()[0]
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    digests = set[str]()
    for turn in range(given.rounds):
        for kind in [*KINDS][:: 1 if turn % 2 == 0 else -1]:
            run, digest = _run(given, KINDS[kind])
            runs[kind].append(run)
            digests.add(digest)
    assert len(digests) == 1, "parts differ"
    record = start_record("ray_workers", "ray", "onnxruntime", "pyarrow", "numpy", "pillow")
    record |= {
        "bundle": given.bundle.name,
        "data": given.data.name,
        "precision": given.precision,
        "load_average": [round(value, 2) for value in (load, os.getloadavg()[0])],  # before and after
        "parts_sha256": digests.pop(),
        "runs": runs,
    }
    write_record(given.out, record)
    table = make_table("command", "whole s, min", "median", "shards s, min", "median", "against 1 worker")
    base = min(run["shards_s"] for run in runs["Ray, 1 worker"])
    for kind, found in runs.items():
        whole, shards = ([run[name] for run in found] for name in ("whole_s", "shards_s"))
        times = (min(whole), statistics.median(whole), min(shards), statistics.median(shards))
        table.add_row(kind, *(f"{value:.1f}" for value in times), f"{base / min(shards):.2f} x")
    Console(width=120).print(table)


def _run(given: argparse.Namespace, more: tuple[str, ...]) -> tuple[dict[str, float], str]:
    """The times of one command, and the digest of its parts."""
    with scratch_folder() as folder:
        out = folder / "parts"
        options = ("--data", str(given.data), "--out", str(out), "--precision", given.precision, *more)
        command = [sys.executable, "-c", PROGRAM, "score", str(given.bundle), *options]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - began
        found = DONE.search(done.stderr)
        if done.returncode != 0 or found is None:
            sys.exit(done.stderr)
        return {"whole_s": round(whole, 3), "shards_s": float(found[1])}, _digest(out)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for part in sorted(folder.rglob("*.parquet")):
        digest.update(hashlib.sha256(part.read_bytes()).digest())
    return digest.hexdigest()


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--out", type=Path, default=Path("ray-workers.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
