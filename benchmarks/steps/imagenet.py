"""Measures every step from random weights to plans for the ImageNet networks: wall and CPU time, peak memory, sizes.

    python -m benchmarks.steps.imagenet --data FOLDER_OF_IMAGES [--out benchmarks/results/NAME.json]

Each step is the command that a user would give, in a process of its own. Random weights: for speed and memory the
values do not matter, accuracy is not looked at. Calibration is run with 16, 32 and 64 images, in which memory must not
grow.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from wrn_deploy import __version__
from wrn_deploy.bench.table import file_size
from wrn_deploy.bundle import Bundle
from wrn_deploy.machine import describe_machine, package_versions

MODELS = ("wrn-50-2", "wrn-101-2")
IMAGES = (16, 32, 64)
METHODS = ("max", "percentile", "entropy")
RUN = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One command: seconds of wall and CPU time, the peak of its resident set, and the files that it made, in bytes."""

    model: str
    step: str
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    files: dict[str, int]


def main() -> None:
    """Runs the steps, prints the table last, and writes the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of images to calibrate on")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/imagenet.json"))
    given = parser.parse_args()
    steps = []
    with tempfile.TemporaryDirectory() as work:
        for model in given.models:
            for step in _measure(model, Path(work) / model, given.data):
                steps.append(step)
                sys.stderr.write(f"{step.model} {step.step}: {step.wall_s:.1f} s, {step.peak_rss_bytes / 1e6:.0f} MB\n")
    _write(given.out, given.data, steps)
    _print(steps)


def _measure(model: str, bundle: Path, data: str) -> Iterator[Step]:
    yield _run(model, "export fp32 and fp16", bundle, "export", model, "--random-weights", "--out", str(bundle))
    for method in METHODS:
        for count in IMAGES:
            size, calibrated = str(count), ("--calib-data", data, "--calib-method", method)
            yield _run(
                model,
                f"calibrate {method}, {count} images",
                bundle,
                "calibrate",
                str(bundle),
                *calibrated,
                "--calib-size",
                size,
            )
    for precision in ("fp16", "int8"):
        yield _run(model, f"build {precision} plan", bundle, "build-engine", str(bundle), f"--{precision}")


def _run(model: str, step: str, bundle: Path, *command: str) -> Step:
    before = {} if not bundle.exists() else {artifact.sha256 for artifact in Bundle.open(bundle).artifacts.values()}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", RUN, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode()}")
    made = [artifact for artifact in Bundle.open(bundle).artifacts.values() if artifact.sha256 not in before]
    files = {artifact.path: artifact.size_bytes for artifact in made}
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Step(model, step, round(wall, 2), round(cpu, 2), usage.ru_maxrss * 1024, files)


def _write(out: Path, data: str, steps: list[Step]) -> None:
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13", "numpy")
    record = {
        "benchmark": "imagenet",
        "data": Path(data).name,
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"wrn-deploy": __version__, **package_versions(*packages)},
        "steps": [dataclasses.asdict(step) for step in steps],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _print(steps: list[Step]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for header in ("model", "step", "wall s", "CPU s", "peak memory", "files"):
        table.add_column(header, justify="left" if header in ("model", "step", "files") else "right")
    for step in steps:
        graphs = [(name, size) for name, size in step.files.items() if not name.endswith(".json")]
        files = ", ".join(f"{name} {file_size(size)}" for name, size in graphs)
        memory = file_size(step.peak_rss_bytes)
        table.add_row(step.model, step.step, f"{step.wall_s:.1f}", f"{step.cpu_s:.1f}", memory, files)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
