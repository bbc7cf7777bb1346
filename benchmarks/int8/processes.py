"""Runs each row of `rows.py` in a process of its own, a peer's in its environment, and measures the whole process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.int8.environments import ENVIRONMENTS, make_command
from benchmarks.int8.rows import Row
from wrn_deploy.data import Role, open_data

__all__ = ["Cost", "Place", "run_row", "write_first_images"]

ROOT = Path(__file__).resolve().parents[2]
CANDIDATE = "benchmarks.int8.candidate"
TIMEOUT_S = 3600  # of one process
SETTINGS = {"ORT_DISABLE_TELEMETRY": "1", "NNCF_CI": "1", "CUDA_VISIBLE_DEVICES": ""}  # nothing is reported; no GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One whole process: from the start of Python until the graphs are written, on all its threads.

    Attributes:
        cpu_s: CPU seconds.
        start_cpu_s: those of them until Python and its libraries were loaded.
        wall_s: seconds by the clock.
        peak_rss_bytes: its largest resident set.
        error: why there are no numbers.
    """

    cpu_s: float = 0.0
    start_cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_rss_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all rows of a network share: the bundle, which stays as it is, the images, and the peers' environments."""

    bundle: Path
    images: Path
    environments: Path | None


def run_row(row: Row, place: Place, folder: Path) -> Cost:
    """Runs `row` in the new folder `folder`, which has the graphs afterwards, and measures it."""
    python = sys.executable
    if row.maker in ENVIRONMENTS:
        environment = ENVIRONMENTS[row.maker]
        if place.environments is None or not environment.is_made(place.environments):
            return Cost(error=f"not run: make it with `{make_command(row.maker, place.environments)}`")
        python = str(environment.python(place.environments))
    own = folder / "bundle"
    # Files are replaced, never written to, so links do; a bundle refuses a lock file that is linked.
    shutil.copytree(place.bundle, own, copy_function=os.link, ignore=shutil.ignore_patterns(".*"))
    command = ["timeout", str(TIMEOUT_S), python, "-m", CANDIDATE, row.name, str(own), str(place.images)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **SETTINGS}
    log, cost = folder / "log", folder / "cost.json"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=variables, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not cost.exists():
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        return Cost(error=last or f"exit {process.returncode}")
    cpu_s = round(usage.ru_utime + usage.ru_stime, 2)
    return Cost(cpu_s=cpu_s, wall_s=round(wall_s, 2), **json.loads(cost.read_text(encoding="utf-8")))


def write_first_images(data: str, count: int, file: Path) -> None:
    """Writes the first `count` images of `data`, all of one size, to an .npz file.

    Raises:
        ValueError: there are fewer.
    """
    items = [*islice(open_data(data, Role.TRAIN).items(), count)]
    if len(items) < count:
        raise ValueError(f"{data} has {len(items)} images: expected at least {count}")
    labels = np.array([-1 if item.label is None else item.label for item in items])
    pixels = np.stack([item.load() for item in items])
    if (labels >= 0).all():
        np.savez(file, images=pixels, labels=labels)
    else:
        np.savez(file, images=pixels)
