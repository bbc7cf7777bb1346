r"""Compares int8 graphs, ours and others': accuracy on real images, cost of calibration, and speed on the CPU.

    python -m benchmarks.int8.accuracy --checkpoint wrn-16-2=FILE --calib-data train.npz --data test.parquet \
        [--data other.npz] [--ladder] [--peers] [--modelopt-python MODELOPT/bin/python] [--out FILE.json]

The rows are in `rows.py`. All are calibrated on the same images, the first of `--calib-data`, each in its own process,
whose CPU seconds and peak memory are reported. ONNX Runtime on the CPU answers all images with every graph, also those
for TensorRT; the images are decoded once. Agreement compares the argmax with fp32's, cosine the logits.

Graphs with uint8 activations and fp32 are also timed, in turns within one process: minimum and median for each batch
size and number of threads. `--ladder` adds our techniques one by one, `--peers` ONNX Runtime's `quantize_static`.
ModelOpt needs other versions of onnx and ONNX Runtime, and therefore its own environment:

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
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.int8.measure import Accuracy, Images, compare, latencies, logits_of, read_images
from benchmarks.int8.rows import LADDER, PEERS, SHIPPED, Maker, Row
from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

ROOT = Path(__file__).resolve().parents[2]
CANDIDATE = "benchmarks.int8.accuracy_candidates"
TIMEOUT_S = 3600  # of one process
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "torch", "numpy", "pillow")
BATCHES = (1, 8)
SYMMETRIC, UNSIGNED = "int8-tensorrt.onnx", "int8-onnxruntime.onnx"


@dataclasses.dataclass(slots=True)
class Result:
    """One graph: cost of making it, accuracy by data set, times in ms by "threads/batch"; `error` if it failed."""

    name: str
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    error: str = ""
    accuracy: dict[str, Accuracy] = dataclasses.field(default_factory=dict)
    latency_ms: dict[str, list[float]] = dataclasses.field(default_factory=dict)


def main() -> None:
    """Measures every checkpoint, writes the raw numbers, and prints the tables last."""
    given = _arguments()
    results: dict[str, list[Result]] = {}
    with scratch_folder() as work:
        calibration = work / Path(given.calib_data).with_suffix(".npz").name
        _first_images(given.calib_data, given.calib_size, calibration)
        for name, _, weights in (text.partition("=") for text in given.checkpoint):
            folder = work / name
            bundle = export_bundle(ExportOptions(model=name, out=folder / "bundle", weights=Path(weights)), Silent())
            results[name] = []
            for _ in _measure(given, bundle, calibration, results[name]):
                _write(given, results)  # after each row, so that an interrupted run keeps what it measured
    for name, found in results.items():
        _print(name, found)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", required=True, metavar="MODEL=FILE", help="repeatable")
    parser.add_argument("--calib-data", required=True)
    parser.add_argument("--calib-size", type=int, default=256)
    parser.add_argument("--data", action="append", required=True, help="labelled images; repeatable")
    parser.add_argument("--limit", type=int, help="use the first N images of each", metavar="N")
    parser.add_argument("--ladder", action="store_true", help="measure our techniques one by one too")
    parser.add_argument("--peers", action="store_true", help="measure ONNX Runtime's quantizer too")
    parser.add_argument("--modelopt-python", help="the Python of an environment with ModelOpt")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="for latency")
    parser.add_argument("--rounds", type=int, default=40, help="for latency; 0: none")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/int8-accuracy.json"))
    return parser.parse_args()


def _first_images(data: str, count: int, file: Path) -> None:
    items = [*islice(open_data(data, Role.TRAIN).items(), count)]
    labels = np.array([-1 if item.label is None else item.label for item in items])
    pixels = np.stack([item.load() for item in items])
    if (labels >= 0).all():
        np.savez(file, images=pixels, labels=labels)
    else:
        np.savez(file, images=pixels)


def _measure(given: Any, bundle: Bundle, calibration: Path, results: list[Result]) -> Iterator[None]:
    """Adds to `results`; yields after each row."""
    images = [read_images(data, bundle.spec, given.limit) for data in given.data]
    fp32 = bundle.file(bundle.artifacts["onnx-fp32"])
    reference = [logits_of(fp32, one) for one in images]
    rows = [SHIPPED, *(LADDER if given.ladder else ())]
    rows += [row for row in PEERS if row.maker is Maker.ONNXRUNTIME and given.peers]
    rows += [row for row in PEERS if row.maker is Maker.MODELOPT and given.modelopt_python]
    results.append(_scored(Result("fp32"), fp32, images, reference))
    timed = {"fp32": fp32}
    for number, row in enumerate(rows):
        folder = bundle.folder.parent / str(number)
        made = _make(row, bundle, calibration, folder, given.modelopt_python)
        for name, file in _graphs(row, folder) if not made.error else [(row.name, fp32)]:
            result = dataclasses.replace(made, name=name, accuracy={}, latency_ms={})
            results.append(result if made.error else _scored(result, file, images, reference))
            if row.unsigned or file.name == UNSIGNED:
                timed[name] = file
            sys.stderr.write(f"{_describe(results[-1])}\n")
        yield
    for threads in given.threads if given.rounds else ():
        for batch in BATCHES:
            found = latencies(timed, images[0].pixels[:batch], threads, given.rounds)
            for result in results:
                if result.name in found:
                    result.latency_ms[f"{threads}/{batch}"] = [round(sample, 4) for sample in found[result.name]]
            yield


def _make(row: Row, bundle: Bundle, calibration: Path, folder: Path, modelopt_python: str | None) -> Result:
    own = folder / "bundle"
    shutil.copytree(bundle.folder, own, copy_function=os.link)  # files are replaced, never written to
    python = modelopt_python if modelopt_python and row.maker is Maker.MODELOPT else sys.executable
    command = ["timeout", str(TIMEOUT_S), python, "-m", CANDIDATE, row.name, str(own), str(calibration)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1"}
    log = folder / "log"
    with log.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=stream, env=environment, cwd=folder, check=False)
    if done.returncode:
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        return Result(row.name, error=last or f"exit {done.returncode}")
    return Result(row.name, **json.loads((folder / "cost.json").read_text(encoding="utf-8")))


def _graphs(row: Row, folder: Path) -> list[tuple[str, Path]]:
    if row.maker is not Maker.OURS:
        return [(row.name, folder / "int8.onnx")]
    symmetric = (f"{row.name}, for TensorRT" if row is SHIPPED else row.name, folder / SYMMETRIC)
    return [symmetric, (f"{row.name}, for ONNX Runtime", folder / UNSIGNED)] if row is SHIPPED else [symmetric]


def _scored(result: Result, graph: Path, images: list[Images], reference: list[Any]) -> Result:
    for one, wanted in zip(images, reference, strict=True):
        result.accuracy[one.name] = compare(logits_of(graph, one), wanted, one.labels)
    return result


def _write(given: Any, results: dict[str, list[Result]]) -> None:
    record = {
        **start_record("int8-accuracy", *PACKAGES),
        "calibration": {"data": Path(given.calib_data).name, "images": given.calib_size},
        "limit": given.limit,
        "models": {name: [dataclasses.asdict(result) for result in found] for name, found in results.items()},
    }
    write_record(given.out, record)


def _describe(result: Result) -> str:
    scores = [
        f"{name}: top-1 {100 * one.correct / one.images:.2f}, agrees {100 * one.agreeing / one.images:.2f} %"
        for name, one in result.accuracy.items()
    ]
    return f"{result.name}: {result.cpu_s} CPU s; {'; '.join(scores) or result.error}"


def _print(model: str, results: list[Result]) -> None:
    data = [*results[0].accuracy]
    title = f"{model}: top-1 / agreement with fp32 (%) / mean cosine of the logits"
    table = make_table("graph", *data, "CPU s", "peak memory", title=title)
    for result in results:
        scores = [
            f"{100 * one.correct / one.images:.2f} / {100 * one.agreeing / one.images:.2f} / {one.cosine:.5f}"
            for one in result.accuracy.values()
        ]
        cost = [f"{result.cpu_s:.1f}", f"{result.peak_rss_bytes / 1e6:.0f} MB"] if result.cpu_s else ["", ""]
        table.add_row(result.name, *(scores or [result.error[:40], *[""] * (len(data) - 1)]), *cost)
    Console(width=150).print(table)
    timed = [result for result in results if result.latency_ms]
    if not timed:
        return
    settings = [*timed[0].latency_ms]
    headers = ["threads {}, batch {}".format(*one.split("/")) for one in settings]
    table = make_table("graph", *headers, title=f"{model}: ms, minimum / median")
    for result in timed:
        times = [result.latency_ms[setting] for setting in settings]
        table.add_row(result.name, *(f"{min(one):.3f} / {statistics.median(one):.3f}" for one in times))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
