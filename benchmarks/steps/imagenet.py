"""Measures every step from random weights to plans for the ImageNet networks: wall and CPU time, peak memory, sizes.

    python -m benchmarks.steps.imagenet --data FOLDER_OF_IMAGES [--out benchmarks/results/NAME.json]

Each step is the command that a user would run, in its own process. Weights are random: speed and memory do not depend
on their values, and accuracy is not measured. Calibration runs with 16, 32 and 64 images; its memory must not grow.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.formatting import file_size
from wrn_deploy.process.scratch import scratch_folder

MODELS = ("wrn-50-2", "wrn-101-2")
IMAGES = (16, 32, 64)
METHODS = ("max", "percentile", "entropy")
RUN = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command: seconds of wall and CPU time, the peak of its resident set, and the sizes in bytes of its files."""

    model: str
    step: str
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    files: dict[str, int]


def main() -> None:
    """Runs the steps, writes the raw numbers, and prints the table last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of images to calibrate on")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/imagenet.json"))
    given = parser.parse_args()
    steps = []
    with scratch_folder() as work:
        for model in given.models:
            for step in _measure(model, work / model, given.data):
                steps.append(step)
                sys.stderr.write(f"{step.model} {step.step}: {step.wall_s:.1f} s, {step.peak_rss_bytes / 1e6:.0f} MB\n")
    _write(given.out, given.data, steps)
    _print(steps)


def _measure(model: str, bundle: Path, data: str) -> Iterator[Step]:
    yield _run(model, "export fp32 and fp16", bundle, "export", model, "--random-weights", "--out", str(bundle))
    for method in METHODS:
        for count in IMAGES:
            options = ("--calib-data", data, "--calib-method", method, "--calib-size", str(count))
            yield _run(model, f"calibrate {method}, {count} images", bundle, "calibrate", str(bundle), *options)
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
    return Step(
        model=model,
        step=step,
        wall_s=round(wall, 2),
        cpu_s=round(cpu, 2),
        peak_rss_bytes=usage.ru_maxrss * 1024,
        files=files,
    )


def _write(out: Path, data: str, steps: list[Step]) -> None:
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13", "numpy")
    record = {
        **start_record("imagenet", *packages),
        "data": Path(data).name,
        "steps": [dataclasses.asdict(step) for step in steps],
    }
    write_record(out, record)


def _print(steps: list[Step]) -> None:
    table = make_table("model", "step", "wall s", "CPU s", "peak memory", "files", left=("step", "files"))
    for step in steps:
        graphs = [(name, size) for name, size in step.files.items() if not name.endswith(".json")]
        files = ", ".join(f"{name} {file_size(size)}" for name, size in graphs)
        memory = file_size(step.peak_rss_bytes)
        table.add_row(step.model, step.step, f"{step.wall_s:.1f}", f"{step.cpu_s:.1f}", memory, files)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
