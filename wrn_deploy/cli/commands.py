"""The commands of `wrn-deploy`, at most 15 lines each: parse, call one function, print."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wrn_deploy import __version__
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli import options as opt
from wrn_deploy.cli import show
from wrn_deploy.cli.interrupt import Commands
from wrn_deploy.cli.options import flag, option
from wrn_deploy.cli.progress import TerminalProgress
from wrn_deploy.cli.show_lint import show_lint
from wrn_deploy.cli.show_tuning import show_tuning
from wrn_deploy.engines.build import Profile
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.build import BuildOptions, build_engine
from wrn_deploy.pipeline.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.demo import DemoOptions, run_demo
from wrn_deploy.pipeline.doctor import diagnose
from wrn_deploy.pipeline.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.gate import check_drop
from wrn_deploy.pipeline.lint import Target, check_findings, lint_file
from wrn_deploy.pipeline.listing import list_models
from wrn_deploy.pipeline.measure import MeasureOptions, bench_bundle, evaluate_bundle
from wrn_deploy.pipeline.predict import PredictOptions, predict_files
from wrn_deploy.pipeline.quantize import Quantization, Rounding, WeightScales
from wrn_deploy.pipeline.reports import check_folder, write_reports
from wrn_deploy.pipeline.train import TrainOptions, train_model
from wrn_deploy.pipeline.tune import TuneOptions, check_picture, check_tuning, tune_bundle, write_picture
from wrn_deploy.spec import Precision
from wrn_deploy.training.recipe import Recipe

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    name="wrn-deploy",
    help="Wide Residual Networks from weights to a measured, proved TensorRT engine.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 a gate failed, 4 this machine cannot do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _progress() -> TerminalProgress:
    return TerminalProgress(Console(stderr=True))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wrn-deploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, flag("--version", "Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    del version


@app.command()
def models(as_json: opt.AsJson = False) -> None:
    """List the networks: input, parameters, multiply-accumulates."""
    show.show_models(list_models(), as_json=as_json)


@app.command()
def doctor(as_json: opt.AsJson = False) -> None:
    """Show what this machine has, and which steps it can do."""
    show.show_diagnosis(diagnose(), as_json=as_json)


@app.command()
def train(
    model: opt.Model,
    out: Annotated[Path, option("FOLDER", "For weights, checkpoint and log.")],
    data: opt.Data = "digits",
    test_data: Annotated[str | None, option("DATA", "Images to test on, if not the data's own test images.")] = None,
    resume: Annotated[bool, flag("--resume", "Go on with the run in FOLDER, after its last whole epoch.")] = False,
    epochs: Annotated[int, option("N", "Passes over the data.", opt.RECIPE, least=1)] = 200,
    batch_size: Annotated[int, option("N", "Images a step.", opt.RECIPE, least=2)] = 128,
    lr: Annotated[float, option("X", "Learning rate; x 0.2 at 30, 60 and 80 % of the epochs.", opt.RECIPE)] = 0.1,
    weight_decay: Annotated[float, option("X", "L2 penalty on the weights.", opt.RECIPE)] = 5e-4,
    dropout: Annotated[float, option("X", "Probability, between the convolutions of a block.", opt.RECIPE)] = 0.0,
    mirror: Annotated[bool, option("", "Mirror half of the images, where the data allows it.", opt.RECIPE)] = True,
    shift: Annotated[int, option("N", "Shift images by up to so many pixels.", opt.RECIPE, least=0)] = 4,
    seed: Annotated[int, option("N", "Of weights, order and augmentation.", opt.RECIPE, least=0)] = 0,
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Train a network with the WRN paper's recipe."""
    changes = opt.overrides_of(classes, labels, mean, std, resize)
    recipe = Recipe(epochs, batch_size, lr, weight_decay=weight_decay, shift=shift, mirror=mirror, seed=seed)
    options = TrainOptions(model, data, out, recipe, test_data, dataclasses.replace(changes, dropout=dropout), resume)
    result = train_model(options, _progress())
    show.show_training(result, as_json=as_json)


@app.command()
def export(
    model: opt.Model,
    out: Annotated[Path, option("BUNDLE", "Folder for the bundle.")],
    weights: Annotated[Path | None, option("FILE", ".safetensors or .pth state dict; code in it is never run.")] = None,
    random_weights: Annotated[
        bool, flag("--random-weights", "For speed work only: marks the bundle and all reports.")
    ] = False,
    seed: Annotated[int, option("N", "Of the random weights.", least=0)] = 0,
    classes: opt.Classes = None,
    labels: opt.Labels = None,
    mean: opt.Mean = None,
    std: opt.Std = None,
    resize: opt.Resize = None,
    as_json: opt.AsJson = False,
) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    changes = opt.overrides_of(classes, labels, mean, std, resize)
    bundle = export_bundle(ExportOptions(model, out, weights, random_weights, seed, changes), _progress())
    show.show_artifacts(bundle, ("weights", "onnx-fp32", "onnx-fp16"), as_json=as_json)


@app.command()
def calibrate(
    bundle: opt.BundlePath,
    calib_data: opt.CalibData,
    calib_size: opt.CalibSize = 256,
    calib_method: opt.CalibMethod = "mse",
    percentile: opt.Percentile = 99.99,
    equalize: opt.Equalize = True,
    exact_input: opt.ExactInput = True,
    weight_scales: opt.WeightScaleOf = WeightScales.CHANNEL,
    bias_correction: opt.BiasCorrection = False,
    rounding: opt.RoundingOf = Rounding.FEEDBACK,
    learning_steps: opt.LearningSteps = 600,
    threads: opt.Threads = None,
    max_corrupt: opt.MaxCorrupt = 0,
    as_json: opt.AsJson = False,
) -> None:
    """Calibrate on real images and write the int8 graphs."""
    opened = Bundle.open(bundle)
    how = Quantization(exact_input, weight_scales, bias_correction, rounding, learning_steps)
    options = CalibrateOptions(
        calib_data, calib_size, calib_method, percentile, equalize, how, threads=threads, max_corrupt=max_corrupt
    )
    calibrate_bundle(opened, options, _progress())
    show.show_artifacts(opened, ("calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime"), as_json=as_json)


@app.command("build-engine")
def build_engine_command(
    bundle: opt.BundlePath,
    fp16: Annotated[bool, flag("--fp16", "Build from the fp16 graph.")] = False,
    int8: Annotated[bool, flag("--int8", "Build from the int8 graph, which calibration makes.")] = False,
    flavor: Annotated[Flavor | None, typer.Option(help="Which TensorRT; the first installed if not given.")] = None,
    workspace: Annotated[int | None, option("MIB", "Scratch memory of a layer, at most.", least=1)] = None,
    min_batch: Annotated[int, option("N", "The smallest to allow.", opt.BATCHES)] = 1,
    opt_batch: Annotated[int, option("N", "The one to tune for.", opt.BATCHES)] = 8,
    max_batch: Annotated[int, option("N", "The largest to allow.", opt.BATCHES)] = 32,
    calib_data: Annotated[
        str | None, option("DATA", "Calibrate on these first; else the bundle's table is used.", opt.CALIBRATION)
    ] = None,
    calib_size: opt.CalibSize = 256,
    calib_method: opt.CalibMethod = "mse",
    percentile: opt.Percentile = 99.99,
    as_json: opt.AsJson = False,
) -> None:
    """Build a TensorRT or TensorRT-RTX plan."""
    if fp16 == int8:
        raise UsageError(f"{'both' if fp16 else 'none'} of --fp16 and --int8 given: expected one of them")
    if calib_data and fp16:
        raise UsageError(f"--calib-data {calib_data} with --fp16: expected it with --int8, which alone is calibrated")
    opened, profile = Bundle.open(bundle), Profile(min_batch, opt_batch, max_batch)
    calibration = CalibrateOptions(calib_data, calib_size, calib_method, percentile) if calib_data else None
    precision = Precision.INT8 if int8 else Precision.FP16
    plan = build_engine(opened, BuildOptions(precision, profile, flavor, workspace, calibration), _progress())
    show.show_artifacts(opened, (plan.key,), as_json=as_json)


@app.command()
def bench(
    bundle: opt.BundlePath,
    data: opt.Data,
    backend: opt.Backend = None,
    precision: opt.Precisions = None,
    threads: opt.Threads = None,
    limit: opt.Limit = None,
    max_corrupt: opt.MaxCorrupt = 0,
    out: Annotated[Path | None, option("FOLDER", "For the reports; BUNDLE/reports if not given.")] = None,
    batches: Annotated[str, option("N,N", "Batch sizes.", opt.TIMING)] = "1,8",
    rounds: Annotated[int, option("N", "Turns of each contender at each batch size.", opt.TIMING, least=1)] = 10,
    iterations: Annotated[int, option("N", "Runs in a turn, at most.", opt.TIMING, least=1)] = 20,
    as_json: opt.AsJson = False,
) -> None:
    """Measure latency, accuracy and memory of every contender side by side.

    A contender is a backend at a precision. fp32 is always measured: it is what
    the others are compared with.
    """
    options = MeasureOptions(
        data, backend, precision, opt.parse_batches(batches), rounds, iterations, threads, limit, max_corrupt
    )  # fmt: skip
    opened, progress = Bundle.open(bundle), _progress()
    folder = check_folder(out or bundle / "reports")
    report = bench_bundle(opened, options, progress)
    write_reports(report, folder, "bench", progress)
    show.show_report(report, as_json=as_json)


@app.command("eval")
def evaluate(
    bundle: opt.BundlePath,
    data: opt.Data,
    max_drop: Annotated[
        float | None, option("X", "Exit code 3 if one loses more points of top-1 against fp32.", least=0)
    ] = None,
    backend: opt.Backend = None,
    precision: opt.Precisions = None,
    threads: opt.Threads = None,
    limit: opt.Limit = None,
    max_corrupt: opt.MaxCorrupt = 0,
    as_json: opt.AsJson = False,
) -> None:
    """Measure accuracy alone, with a gate.

    fp32 is always measured: it is what the others are compared with.
    """
    options = MeasureOptions(data, backend, precision, threads=threads, limit=limit, max_corrupt=max_corrupt)
    report = evaluate_bundle(Bundle.open(bundle), options, _progress())
    show.show_report(report, as_json=as_json)
    if max_drop is not None:
        check_drop(report, max_drop)


@app.command()
def predict(
    bundle: opt.BundlePath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files.")],
    backend: opt.Backend = None,
    precision: opt.Precisions = None,
    top_k: Annotated[int, option("N", "Classes to show of each image.", least=1)] = 3,
    as_json: opt.AsJson = False,
) -> None:
    """Print the labels and scores of images.

    Unless one is named, the first backend that can run here is used: TensorRT,
    TensorRT-RTX, ONNX Runtime.
    """
    options = PredictOptions(tuple(images), top_k, backend, precision)
    show.show_predictions(predict_files(bundle, options, _progress()), as_json=as_json)


@app.command()
def tune(
    bundle: opt.BundlePath,
    data: opt.Data,
    max_drop: Annotated[
        float | None, option("X", "Points of top-1 that may be lost against fp32, as in 0.1.", least=0)
    ] = None,
    min_agreement: Annotated[
        float | None, option("X", "Images that must keep fp32's answer, in per cent, as in 99.5.", least=0)
    ] = None,
    threads: opt.Threads = None,
    limit: opt.Limit = None,
    max_corrupt: opt.MaxCorrupt = 0,
    out: Annotated[Path | None, option("FILE", "For the picture; BUNDLE/reports/frontier.svg if not given.")] = None,
    calib_data: Annotated[
        str | None, option("DATA", "Calibrate on these first; else the bundle's table is used.", opt.CALIBRATION)
    ] = None,
    calib_size: opt.CalibSize = 256,
    calib_method: opt.CalibMethod = "mse",
    percentile: opt.Percentile = 99.99,
    as_json: opt.AsJson = False,
) -> None:
    """Find the Convs that cost accuracy in int8, and keep the fewest in fp16.

    As few multiply-accumulates as it can find are kept in fp16, so that the budget
    is met: --max-drop, --min-agreement or both. The int8 graph for TensorRT is
    written so; exit code 3 if no set meets the budget.
    """
    opened, progress, picture = Bundle.open(bundle), _progress(), out or bundle / "reports" / "frontier.svg"
    how = (calib_size, calib_method, percentile)
    calibration = CalibrateOptions(calib_data, *how, threads=threads) if calib_data else None
    options = TuneOptions(data, max_drop, min_agreement, calibration, threads, limit, max_corrupt)
    check_picture(picture)
    tuning = tune_bundle(opened, options, progress)
    show_tuning(tuning, as_json=as_json)
    write_picture(tuning, picture, progress)
    check_tuning(tuning)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any Q/DQ graph in ONNX.")],
    target: Annotated[
        Target | None, typer.Option(help="The runtime it is for; taken from its zero points if not given.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Find what keeps a Q/DQ graph from running in int8; exit code 3 if there is an error."""
    report = lint_file(file, target)
    show_lint(report, as_json=as_json)
    check_findings(report)


@app.command()
def demo(
    out: Annotated[Path, option("FOLDER", "For training, bundle and reports.")] = Path("demo"),
    epochs: Annotated[int, option("N", "Passes over the data in training.", least=1)] = 12,
    as_json: opt.AsJson = False,
) -> None:
    """Run the main job once, on real handwritten digits: train, export, calibrate, build, bench."""
    report = run_demo(DemoOptions(out, epochs=epochs), _progress())
    show.show_report(report, as_json=as_json)
