"""The commands that run what was made: bench, eval, predict, demo; at most 15 lines each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.bench.measuring.loadgen import Load
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.shared import flag, option
from wrn_deploy.cli.show import tables as show
from wrn_deploy.pipeline.demo import DemoOptions, run_demo
from wrn_deploy.pipeline.inference.predict import PredictOptions, predict_target
from wrn_deploy.pipeline.inference.target import Target
from wrn_deploy.pipeline.measuring.evaluate import evaluate_target
from wrn_deploy.pipeline.measuring.gate import check_drop
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.pipeline.output_files import check_folder, write_reports

__all__ = ["bench", "demo", "evaluate", "predict"]


@app.command()
def bench(
    bundle: opt.BundlePath,
    data: opt.Data,
    backend: opt.Backends = None,
    everything: opt.All = False,
    precision: opt.Precisions = None,
    threads: opt.Threads = None,
    limit: opt.Limit = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    out: Annotated[Path | None, option("FOLDER", "For the reports; BUNDLE/reports if not given.")] = None,
    batches: Annotated[str, option("N,N", "Batch sizes.", opt.TIMING)] = "1,8",
    rounds: Annotated[int, option("N", "Turns of each contender at each batch size.", opt.TIMING, least=1)] = 30,
    duration: Annotated[float, option("SECONDS", "All turns of one at a batch size together.", opt.TIMING)] = 3.0,
    iterations: Annotated[int, option("N", "Runs in a turn, at most.", opt.TIMING, least=1)] = 200,
    streams: Annotated[int, option("N", "Inferences at the same time.", opt.TIMING, least=1)] = 1,
    boundary: Annotated[
        Boundary, typer.Option(help="What a time takes in.", rich_help_panel=opt.TIMING)
    ] = Boundary.COMPUTE,
    baseline: Annotated[
        str | None, option("BACKEND-PRECISION", "What the others' times are divided by; fp32 if not given.", opt.TIMING)
    ] = None,
    scenario: opt.Scenarios = None,
    scenario_seconds: Annotated[float, option("SECONDS", "The least that one lasts; MLPerf: 600.", opt.LOAD)] = 10.0,
    target_latency: Annotated[float, option("MS", "99 of 100 Server queries must keep it.", opt.LOAD)] = 100.0,
    target_qps: Annotated[
        float | None, option("N", "Server queries a second; half of what is measured if not given.", opt.LOAD)
    ] = None,
    pictures: Annotated[
        bool, flag("--pictures/--no-pictures", "Keep small pictures of images that get another class.")
    ] = True,
    as_json: opt.AsJson = False,
) -> None:
    """Measure latency, accuracy and memory of every contender side by side.

    A contender is a backend at a precision. fp32 is always measured: it is what
    the others are compared with. Variants and other runtimes, as torch_compile and
    openvino, are measured if they are named, or with --all.
    """
    opened, progress, sizes = Bundle.open(bundle), new_progress(), opt.parse_batches(batches)
    folder = check_folder(out or bundle / "reports")
    options = MeasureOptions(
        data, opt.several(backend), precision, sizes, rounds, iterations, threads, limit,
        opt.parse_allowance(max_corrupt), duration, streams, boundary, opt.parse_contender(baseline),
        tuple(Load(one, scenario_seconds, max(sizes), target_latency, target_qps) for one in scenario or ()),
        folder / "loadgen", everything, pictures, workers,
    )  # fmt: skip
    report = bench_bundle(opened, options, progress)
    write_reports(report, folder, "bench", progress)
    show.show_report(report, as_json=as_json)


@app.command("eval")
def evaluate(
    what: opt.BundleOrWeights,
    data: opt.Data,
    max_drop: Annotated[
        float | None, option("X", "Exit code 3 if one loses more points of top-1 against fp32.", least=0)
    ] = None,
    backend: opt.Backends = None,
    everything: opt.All = False,
    precision: opt.Precisions = None,
    threads: opt.Threads = None,
    limit: opt.Limit = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    model: opt.ModelOfWeights = None,
    weights_key: opt.WeightsKey = "",
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure top-1 and top-5 of a bundle, with a gate, or of weights alone.

    Of a bundle fp32 is always measured: it is what the others are compared with.
    Weights need no bundle: PyTorch runs them, on images prepared as they expect.
    """
    target = Target(what, model, opt.overrides_of(classes, labels, mean, std, resize), weights_key)
    options = MeasureOptions(
        data, opt.several(backend), precision, threads=threads, limit=limit,
        max_corrupt=opt.parse_allowance(max_corrupt), everything=everything, workers=workers,
    )  # fmt: skip
    report = evaluate_target(target, options, new_progress(), gated=max_drop is not None)
    show.show_report(report, as_json=as_json)
    if max_drop is not None:
        check_drop(report, max_drop)


@app.command()
def predict(
    what: opt.BundleOrWeights,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files.")],
    backend: opt.Backend = None,
    precision: opt.Precisions = None,
    top_k: Annotated[int | None, option("N", "Classes to show of each image; 3 if not given.", least=1)] = None,
    model: opt.ModelOfWeights = None,
    weights_key: opt.WeightsKey = "",
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Print the labels and scores of images.

    Unless one is named, the first backend that can run a bundle here is used:
    TensorRT, TensorRT-RTX, ONNX Runtime. Weights need no bundle: PyTorch runs them.
    """
    target = Target(what, model, opt.overrides_of(classes, labels, mean, std, resize), weights_key)
    options = PredictOptions(tuple(images), top_k, backend, precision)
    show.show_predictions(predict_target(target, options, new_progress()), as_json=as_json)


@app.command()
def demo(
    out: Annotated[Path, option("FOLDER", "For training, bundle and reports.")] = Path("demo"),
    epochs: Annotated[int, option("N", "Passes over the data in training.", least=1)] = 12,
    as_json: opt.AsJson = False,
) -> None:
    """Run the main job once, on real handwritten digits: train, export, calibrate, build, bench."""
    report = run_demo(DemoOptions(out, epochs=epochs), new_progress())
    show.show_report(report, as_json=as_json)
