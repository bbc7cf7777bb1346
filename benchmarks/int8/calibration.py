r"""Measures calibration of wrn-50-2 to INT8, ours and others': CPU seconds over those of a plain fp32 run, and memory.

    python -m benchmarks.int8.calibration --data FOLDER_OF_IMAGES [--peers] [--modelopt-python MODELOPT/bin/python]

Every contender is a process of its own, in turns (A B C, A B C), and its CPU seconds and peak memory are those of the
whole process. All read the same JPEGs and preprocess them in the same way, one image at a time. The floor only runs the
fp32 graph over them with ONNX Runtime, with its default threads and with one thread. Ours calibrates and writes both
Q/DQ graphs; ONNX Runtime's `quantize_static` writes one QDQ graph, with weights per channel. Weights are random: speed
and memory do not depend on their values, and accuracy is not looked at.

The images are the first of the folder, cut to their middle square and written anew. Where there are too few, they are
taken again: the n-th time with n sixteenths of the side cut off at the top and left, and every other time mirrored, so
that no two are equal.

With `--peers`, ONNX Runtime's quantizer is measured too; its entropy calibration takes 10 GB for 64 images, and its
percentile calibration gets half of them for that reason. ModelOpt needs other versions of onnx and ONNX Runtime, so an
environment of its own, which gets this project's reading of images by PYTHONPATH (torch for a CPU is enough):

    python -m venv MODELOPT && MODELOPT/bin/pip install nvidia-modelopt==0.47.0 onnx==1.21.0 onnxruntime==1.24.4 \
        onnx-graphsurgeon onnxconverter-common onnxslim onnxscript polygraphy lief cppimport pillow rich
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from wrn_deploy import __version__
from wrn_deploy.data import Role, open_data
from wrn_deploy.machine import describe_machine, package_versions

MODEL, SIDE = "wrn-50-2", 256
ROOT = Path(__file__).resolve().parents[2]
CONTENDERS = "benchmarks.int8.calibration_candidates"
METHODS = ("max", "percentile", "entropy", "mse")
COMMAND = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
FLOOR, ONE_THREAD, WHOLE = "fp32 run", "fp32 run, 1 thread", "ours, whole command"
PATIENCE_S = 900  # for one process
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "numpy", "pillow")


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One process: its seconds of CPU and wall time, and the peak of its resident set; `error` where it failed."""

    contender: str
    images: int
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int
    error: str = ""


def main() -> None:
    """Runs all contenders in turns, prints the table last, and writes the raw numbers."""
    given = _arguments()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-benchmark-") as work:
        bundle = Path(work) / "bundle"
        export = [sys.executable, "-c", COMMAND, "export", MODEL, "--random-weights", "--out", str(bundle)]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        folders = {count: Path(work) / str(count) for count in {given.images // 2, given.images, given.many} - {0}}
        for count, folder in folders.items():
            _write_images(given.data, count, folder)
        turn = [
            (FLOOR, given.images),
            (ONE_THREAD, given.images),
            *((f"ours {name}", given.images) for name in METHODS),
        ]
        turn += [(WHOLE, given.images)]
        if given.peers:
            turn += [("onnxruntime MinMax", given.images), ("onnxruntime Entropy", given.images)]
            turn += [("onnxruntime Percentile", given.images // 2)]
        if given.modelopt_python:
            turn += [("ModelOpt max", given.images), ("ModelOpt entropy", given.images)]
        last = [(f"ours {name}", given.many) for name in ("max", "entropy") if given.many]
        for contender, count in turn * given.rounds + last:
            python = given.modelopt_python if contender.startswith("ModelOpt") else sys.executable
            run = _run(contender, python, bundle, folders[count])
            sys.stderr.write(f"{run.contender}, {count} images: {run.cpu_s} CPU s, {run.wall_s} s {run.error}\n")
            runs.append(run)
    _write(given, runs)
    _print(runs)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of images to calibrate on")
    parser.add_argument("--images", type=int, default=64, help="calibration images (default 64)")
    parser.add_argument("--many", type=int, default=512, help="images of the last runs, for memory; 0: none")
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


def _run(contender: str, python: str, bundle: Path, images: Path) -> Run:
    count = len([*images.iterdir()])
    command = [python, "-m", CONTENDERS, contender, str(bundle), str(images)]
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-benchmark-") as work:
        if contender == WHOLE:  # on a bundle that is not calibrated, whose files are links
            shutil.copytree(bundle, Path(work) / "bundle", copy_function=os.link)
            options = ["--calib-data", str(images), "--calib-size", str(count), "--calib-method", "percentile"]
            command = [sys.executable, "-c", COMMAND, "calibrate", str(Path(work) / "bundle"), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
        start = time.perf_counter()
        with (Path(work) / "log").open("w+") as log:
            process = subprocess.Popen(
                ["timeout", str(PATIENCE_S), *command], stdout=log, stderr=log, env=environment, cwd=work
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            error = f"exit {process.returncode}: {log.read()[-500:]}" if process.returncode else ""
    cpu, wall = usage.ru_utime + usage.ru_stime, time.perf_counter() - start
    return Run(contender, count, round(cpu, 2), round(wall, 2), usage.ru_maxrss * 1024, error)


def _write(given: Any, runs: list[Run]) -> None:
    record = {
        "benchmark": "calibration",
        "data": Path(given.data).name,
        "model": MODEL,
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"wrn-deploy": __version__, **package_versions(*PACKAGES)},
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _print(runs: list[Run]) -> None:
    table = Table(box=SIMPLE_HEAD, caption="CPU seconds an image over those of the plain fp32 run: median (least)")
    for header in ("contender", "images", "CPU s", "ratio", "ratio, 1 thread", "wall s", "peak memory"):
        table.add_column(header, justify="left" if header == "contender" else "right")
    rows: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        rows.setdefault((run.contender, run.images), []).append(run)
    floors = [[run.cpu_s / run.images for run in runs if run.contender == name] for name in (FLOOR, ONE_THREAD)]
    for (contender, count), own in rows.items():
        if any(run.error for run in own):
            table.add_row(contender, str(count), own[0].error.partition(":")[0], "", "", "", "")
            continue
        cpu = [run.cpu_s for run in own]
        each = [seconds / count for seconds in cpu]
        ratios = [
            f"{statistics.median(each) / statistics.median(floor):.2f} ({min(each) / min(floor):.2f})"
            for floor in floors
        ]
        wall, memory = statistics.median(run.wall_s for run in own), max(run.peak_rss_bytes for run in own)
        table.add_row(
            contender, str(count), f"{statistics.median(cpu):.1f}", *ratios, f"{wall:.1f}", f"{memory / 1e6:.0f} MB"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
