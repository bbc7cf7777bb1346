r"""Trains a network on this GPU, measures the speed against the roofline of an H200, then its int8 bundle.

    python -m benchmarks.gpu.training --train train-jpeg.parquet \
        --test exact=test-exact-1017.npz jpeg=test-jpeg.parquet [--model wrn-28-10] \
        [--recipe one-cycle] [--epochs N] [--amp bf16] [--eager] [--out FOLDER] [--dry-run]

One run does everything: memory of a step with and without gradient checkpointing, training (compiled, channels last,
fastest kernels), export, calibration on training images, plans for each installed TensorRT, accuracy and latency of
what runs here. The last table has the accuracy of every graph on each test set.

A training step takes three times the roofline of inference in 16 bits: it computes each product once forward, once for
the gradient of the activations and once for that of the weights. All numbers are in FOLDER/train_gpu.json.

`--dry-run` does the same on the CPU, with a small network on a few digits. Without it and without a GPU the program
ends with code 4.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.gpu.limits import H200
from benchmarks.gpu.prepare import build_plans, require_gpu
from benchmarks.gpu.roofline import kernels_of, roofline_s
from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.progress import TerminalProgress
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.formats.npz import open_source as open_npz
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle, evaluate_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.training.spec import plan_training
from wrn_deploy.pipeline.training.train import LOG, TrainOptions, TrainResult, train_model
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions

WAYS = ("channels last", "checkpointing", "bf16", "checkpointing bf16")
FEW = {"train": 64, "test": 32}
BATCHES = (1, 64, 256)


def main() -> None:
    """Does everything, writes the raw numbers after each part, and prints the tables last."""
    given = _arguments()
    if not given.dry_run:
        require_gpu(", or with --dry-run")
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "train_gpu.json"
    progress = TerminalProgress(Console(stderr=True))
    if given.dry_run:
        given.train = _few_digits(Role.TRAIN, given.out)
        given.test = {"digits": _few_digits(Role.TEST, given.out)}
    record = {
        **start_record("train_gpu", "torch", "onnxruntime", "numpy"),
        "dry_run": given.dry_run,
        "limits": dataclasses.asdict(H200),
        "memory": _memory(given),
    }
    write_record(file, record)
    result = _train(given, progress)
    record["epochs"] = [json.loads(line) for line in (result.weights.parent / LOG).read_text().splitlines()]
    bundle = _bundle(given, result, record, progress)
    record["roofline_images_per_s"] = _roofline(bundle, record["batch"])
    write_record(file, record)
    reports = {name: _measure(bundle, data, given, progress) for name, data in given.test.items()}
    record["reports"] = {name: json.loads(report.to_json()) for name, report in reports.items()}
    write_record(file, record)
    _show(record, reports, Console(width=130))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", metavar="DATA")
    parser.add_argument("--test", nargs="+", metavar="NAME=DATA", default=[], help="training measures the first")
    parser.add_argument("--model")
    parser.add_argument("--recipe", default="one-cycle")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--amp", choices=[*Amp], default=Amp.BF16)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("train-gpu"))
    given = parser.parse_args()
    if not given.dry_run and not (given.train and given.test and all("=" in each for each in given.test)):
        parser.error("--train DATA and --test NAME=DATA are needed")
    given.test = dict(each.split("=", 1) for each in given.test)
    given.model = given.model or ("wrn-10-1" if given.dry_run else "wrn-28-10")
    given.epochs = given.epochs or (2 if given.dry_run else None)
    return given


def _few_digits(role: Role, folder: Path) -> str:
    """Writes the first digits of a split to an .npz; returns its path."""
    items = [item for item, _ in zip(open_data("digits", role).items(), range(FEW[role]), strict=False)]
    file = folder / f"{role}.npz"
    np.savez(file, images=np.stack([item.load() for item in items]), labels=np.array([item.label for item in items]))
    assert len(open_npz(str(file), role, None)) == FEW[role]
    return str(file)


def _memory(given: Any) -> list[dict[str, Any]]:
    """Bytes of a training step in each way, measured by benchmarks/steps/training.py."""
    file, ways = given.out / "memory.json", WAYS[1:2] if given.dry_run else WAYS
    command = [sys.executable, "-m", "benchmarks.steps.training", "--memory", "--ways", *ways]
    command += ["--model", given.model, "--batch", "8" if given.dry_run else "128", "--out", str(file)]
    subprocess.run([*command, "--device", "cpu" if given.dry_run else "cuda"], check=True, stdout=subprocess.DEVNULL)
    rows: list[dict[str, Any]] = json.loads(file.read_text())["memory"]
    return rows


def _train(given: Any, progress: Progress) -> TrainResult:
    changes = {"epochs": given.epochs, "batch_size": 16 if given.dry_run else None}
    plan = plan_training(given.recipe, changes, Overrides())
    if given.dry_run:
        execution = ExecutionOptions(device=Device.CPU, amp=Amp(given.amp))
    else:
        execution = ExecutionOptions(
            device=Device.CUDA, amp=Amp(given.amp), compiled=not given.eager, deterministic=False
        )
    first = next(iter(given.test.values()))
    options = TrainOptions(
        model=given.model,
        data=given.train,
        out=given.out / "training",
        recipe=plan.recipe,
        test_data=first,
        overrides=plan.overrides,
        execution=execution,
    )
    return train_model(options, progress)


def _bundle(given: Any, result: TrainResult, record: dict[str, Any], progress: Progress) -> Bundle:
    """Exports the last weights, calibrates on training images, and builds the plans that can be built here."""
    run = json.loads((result.weights.parent / "run.json").read_text())
    record |= {"model": given.model, "batch": run["recipe"]["batch_size"], "run": run}
    bundle = export_bundle(ExportOptions(model=given.model, out=given.out / "bundle", weights=result.weights), progress)
    calibrate_bundle(bundle, CalibrateOptions(data=given.train, size=16 if given.dry_run else 256), progress)
    record["builds"] = build_plans(bundle, (Precision.FP16, Precision.INT8), EngineOptions(), progress)
    return bundle


def _roofline(bundle: Bundle, batch: int) -> float:
    """Images a second that an H200's limits allow in training."""
    kernels = kernels_of(bundle.file(bundle.artifacts["onnx-fp32"]), batch)
    return batch / (3 * roofline_s(kernels, H200, 2))


def _measure(bundle: Bundle, data: str, given: Any, progress: Progress) -> Report:
    """Measures accuracy, and latency too with the first test set."""
    options = MeasureOptions(data=data, pictures=False, batches=(1,) if given.dry_run else BATCHES)
    if data != next(iter(given.test.values())):
        return evaluate_bundle(bundle, options, progress)
    if given.dry_run:
        options = dataclasses.replace(options, backends=("onnxruntime",), rounds=1, iterations=2, duration_s=0.1)
    return bench_bundle(bundle, options, progress)


def _show(record: dict[str, Any], reports: dict[str, Report], console: Console) -> None:
    memory = make_table("way", "kept MB", "peak MB", title="Memory of a training step")
    for row in record["memory"]:
        memory.add_row(row["way"], f"{row['kept'] / 1e6:.0f}", f"{row['peak'] / 1e6:.0f}")
    speed = make_table("epoch", "loss", "test top-1", "images/s", "% of roofline", title="Training")
    for epoch in record["epochs"]:
        share = 100 * epoch["images_per_s"] / record["roofline_images_per_s"]
        numbers = f"{epoch['loss']:.4f}", f"{100 * epoch['test_top1']:.2f} %", f"{epoch['images_per_s']:.0f}"
        speed.add_row(str(epoch["epoch"] + 1), *numbers, f"{share:.2f}")
    batches = next(iter(reports.values())).settings.batches
    speeds = (f"batch {batch}, images/s" for batch in batches)
    table = make_table("candidate", *(f"{name} top-1" for name in reports), *speeds, title=record["model"])
    first, *others = reports.values()
    for row in first.rows:
        if row.skipped is not None:
            continue
        same = [row, *(each for report in others for each in report.rows if each.name == row.name)]
        table.add_row(row.name, *map(_top1, same), *(_images_per_s(row, batch) for batch in batches))
    skipped = sorted({f"{row.name} skipped: {row.skipped}" for row in first.rows if row.skipped is not None})
    console.print("\n".join([*record["builds"], *skipped]), markup=False)
    console.print(memory, speed, table)


def _top1(row: Row) -> str:
    return f"{100 * row.accuracy.correct / row.accuracy.images:.2f} %" if row.accuracy else ""


def _images_per_s(row: Row, batch: int) -> str:
    """From the median of the times."""
    times = [latency.samples_ms for latency in row.latencies if latency.batch == batch]
    return f"{1000 * batch / statistics.median(times[0]):.0f}" if times else ""


if __name__ == "__main__":
    main()
