r"""Measures calibration of wrn-50-2 to INT8, ours and others': CPU seconds over those of a plain fp32 run, and memory.

    python -m benchmarks.int8.calibration --data FOLDER_OF_IMAGES [--peers] [--modelopt-python MODELOPT/bin/python]

Candidates take turns (A B C, A B C), each in its own process; CPU seconds and peak memory are those of the whole
process. All read the same JPEGs and preprocess them in the same way, one image at a time. The floor only runs the fp32
graph on them with ONNX Runtime, once with its default threads and once with one thread. Ours calibrates and writes both
Q/DQ graphs; ONNX Runtime's `quantize_static` writes one Q/DQ graph, with weights per channel. Weights are random: speed
and memory do not depend on their values, and accuracy is not measured.

The images are the first of the folder, cropped to their middle square. If there are too few, they are used again: the
n-th time with n sixteenths of the side cut off at the top and left, and every second time mirrored, so that no two are
equal.

`--peers` also measures ONNX Runtime's quantizer; its entropy calibration takes 10 GB for 64 images, so its percentile
calibration gets only half of them. ModelOpt needs other versions of onnx and ONNX Runtime, and therefore its own
environment, which finds this project's code through PYTHONPATH (torch for a CPU is enough):

    python -m venv MODELOPT && MODELOPT/bin/pip install nvidia-modelopt==0.47.0 onnx==1.21.0 onnxruntime==1.24.4 \
        onnx-graphsurgeon onnxconverter-common onnxslim onnxscript polygraphy lief cppimport pillow rich
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.data import Role, open_data
from wrn_deploy.process.scratch import scratch_folder

MODEL, SIDE = "wrn-50-2", 256
ROOT = Path(__file__).resolve().parents[2]
CANDIDATES = "benchmarks.int8.calibration_candidates"
METHODS = ("max", "percentile", "entropy", "mse")
COMMAND = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
FLOOR, ONE_THREAD, WHOLE = "fp32 run", "fp32 run, 1 thread", "ours, whole command"
TIMEOUT_S = 900  # of one process
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "numpy", "pillow")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: its seconds of CPU and wall time, and the peak of its resident set; `error` if it failed."""

    candidate: str
    images: int
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int
    error: str = ""


def main() -> None:
    """Runs all candidates in turns, writes the raw numbers, and prints the table last."""
    given = _arguments()
    runs: list[Run] = []
    with scratch_folder() as work:
        bundle = work / "bundle"
        export = [sys.executable, "-c", COMMAND, "export", MODEL, "--random-weights", "--out", str(bundle)]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        folders = {count: work / str(count) for count in {given.images // 2, given.images, given.many} - {0}}
        for count, folder in folders.items():
            _write_images(given.data, count, folder)
        names = (FLOOR, ONE_THREAD, *(f"ours {name}" for name in METHODS), WHOLE)
        turn = [(name, given.images) for name in names]
        if given.peers:
            turn += [("onnxruntime MinMax", given.images), ("onnxruntime Entropy", given.images)]
            turn += [("onnxruntime Percentile", given.images // 2)]
        if given.modelopt_python:
            turn += [("ModelOpt max", given.images), ("ModelOpt entropy", given.images)]
        last = [(f"ours {name}", given.many) for name in ("max", "entropy") if given.many]
        for candidate, count in turn * given.rounds + last:
            python = given.modelopt_python if candidate.startswith("ModelOpt") else sys.executable
            run = _run(candidate, python, bundle, folders[count])
            sys.stderr.write(f"{run.candidate}, {count} images: {run.cpu_s} CPU s, {run.wall_s} s {run.error}\n")
            runs.append(run)
    _write(given, runs)
    _print(runs)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of images to calibrate on")
    parser.add_argument("--images", type=int, default=64, help="calibration images (default 64)")
    parser.add_argument("--many", type=int, default=512, help="images of the last runs, which show memory; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="measure ONNX Runtime's quantizer too: 10 GB of memory")
    parser.add_argument("--modelopt-python", help="the Python of an environment with ModelOpt")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/calibration.json"))
    return parser.parse_args()


def _write_images(data: str, count: int, folder: Path) -> None:
    folder.mkdir()
    source = open_data(data, Role.TRAIN)
    written = 0
    while written < count:
        again = written // len(source)
        for item in source.items():
            pixels = Image.fromarray(item.load())
            half = min(pixels.size) / 2
            middle, cut = (pixels.width / 2, pixels.height / 2), again * half / 8
            corner = (middle[0] - half + cut, middle[1] - half + cut)
            square = pixels.resize((SIDE, SIDE), box=(*corner, middle[0] + half, middle[1] + half))
            if again % 2:
                square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            square.save(folder / f"{written:05d}.jpg", quality=95)
            written += 1
            if written == count:
                break


def _run(candidate: str, python: str, bundle: Path, images: Path) -> Run:
    count = len([*images.iterdir()])
    command = [python, "-m", CANDIDATES, candidate, str(bundle), str(images)]
    with scratch_folder() as work:
        if candidate == WHOLE:  # on an uncalibrated copy of the bundle, whose files are hard links
            shutil.copytree(bundle, work / "bundle", copy_function=os.link)
            options = ["--calib-data", str(images), "--calib-size", str(count), "--calib-method", "percentile"]
            command = [sys.executable, "-c", COMMAND, "calibrate", str(work / "bundle"), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
        start = time.perf_counter()
        with (work / "log").open("w+") as log:
            process = subprocess.Popen(
                ["timeout", str(TIMEOUT_S), *command], stdout=log, stderr=log, env=environment, cwd=work
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            error = f"exit {process.returncode}: {log.read()[-500:]}" if process.returncode else ""
    cpu, wall = usage.ru_utime + usage.ru_stime, time.perf_counter() - start
    return Run(
        candidate=candidate,
        images=count,
        cpu_s=round(cpu, 2),
        wall_s=round(wall, 2),
        peak_rss_bytes=usage.ru_maxrss * 1024,
        error=error,
    )


def _write(given: Any, runs: list[Run]) -> None:
    record = {
        **start_record("calibration", *PACKAGES),
        "data": Path(given.data).name,
        "model": MODEL,
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    write_record(given.out, record)


def _print(runs: list[Run]) -> None:
    table = make_table(
        "candidate", "images", "CPU s", "ratio", "ratio, 1 thread", "wall s", "peak memory",
        caption="ratio: CPU seconds per image over those of the plain fp32 run, median (minimum)",
    )  # fmt: skip
    rows: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        rows.setdefault((run.candidate, run.images), []).append(run)
    floors = [[run.cpu_s / run.images for run in runs if run.candidate == name] for name in (FLOOR, ONE_THREAD)]
    for (candidate, count), own in rows.items():
        if any(run.error for run in own):
            table.add_row(candidate, str(count), own[0].error.partition(":")[0], "", "", "", "")
            continue
        cpu = [run.cpu_s for run in own]
        each = [seconds / count for seconds in cpu]
        ratios = [
            f"{statistics.median(each) / statistics.median(floor):.2f} ({min(each) / min(floor):.2f})"
            for floor in floors
        ]
        wall, memory = statistics.median(run.wall_s for run in own), max(run.peak_rss_bytes for run in own)
        table.add_row(
            candidate, str(count), f"{statistics.median(cpu):.1f}", *ratios, f"{wall:.1f}", f"{memory / 1e6:.0f} MB"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
