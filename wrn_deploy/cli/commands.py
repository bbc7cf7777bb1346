"""The commands of `wrn-deploy`, at most 15 lines each: parse, call one function, print."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wrn_deploy import __version__
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli import show
from wrn_deploy.cli.options import (
    AsJson,
    Backend,
    BundlePath,
    CalibMethod,
    CalibSize,
    Classes,
    Data,
    Labels,
    MaxCorrupt,
    Mean,
    Percentile,
    Resize,
    Std,
    Threads,
    overrides_of,
    parse_batches,
)  # fmt: skip
from wrn_deploy.cli.progress import TerminalProgress
from wrn_deploy.engines.build import Profile
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.build import BuildOptions, build_engine
from wrn_deploy.pipeline.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.demo import DemoOptions, run_demo
from wrn_deploy.pipeline.doctor import diagnose
from wrn_deploy.pipeline.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.listing import list_models
from wrn_deploy.pipeline.measure import MeasureOptions, bench_bundle, check_drop, evaluate_bundle
from wrn_deploy.pipeline.predict import predict_files
from wrn_deploy.pipeline.reports import write_reports
from wrn_deploy.pipeline.train import TrainOptions, train_model
from wrn_deploy.spec import Precision
from wrn_deploy.training.recipe import Recipe

__all__ = ["app"]

app = typer.Typer(
    name="wrn-deploy",
    help="Wide Residual Networks from weights to a measured, proved engine.",
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
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    del version


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the networks: input, parameters, multiply-accumulates."""
    show.show_models(list_models(), as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what this machine has, and which steps it can do."""
    show.show_diagnosis(diagnose(), as_json=as_json)


@app.command()
def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As in wrn-16-2.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For weights, checkpoint and log.")],
    data: Data = "digits",
    test_data: Annotated[str | None, typer.Option(metavar="DATA", help="If not the data's own test images.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 200,
    batch_size: Annotated[int, typer.Option(min=2)] = 128,
    lr: Annotated[float, typer.Option(help="Learning rate; dropped by 0.2 at 30, 60 and 80 % of the epochs.")] = 0.1,
    weight_decay: float = 5e-4,
    dropout: float = 0.0,
    mirror: Annotated[bool, typer.Option(help="Mirror half of the images, where the data allows it.")] = True,
    shift: Annotated[int, typer.Option(min=0, help="Shift by up to so many pixels.")] = 4,
    seed: int = 0,
    classes: Classes = None,
    labels: Labels = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in FOLDER.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a network with the WRN paper's recipe."""
    changes = overrides_of(classes, labels, mean, std, resize)
    recipe = Recipe(epochs, batch_size, lr, weight_decay=weight_decay, shift=shift, mirror=mirror, seed=seed)
    options = TrainOptions(model, data, out, recipe, test_data, dataclasses.replace(changes, dropout=dropout), resume)
    result = train_model(options, _progress())
    show.show_training(result, as_json=as_json)


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As in wrn-16-2.")],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder for the bundle.")],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help=".safetensors or .pth state dict.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="For speed work only; marked as such.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
    classes: Classes = None,
    labels: Labels = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    as_json: AsJson = False,
) -> None:
    """Make a bundle: fp32 and fp16 ONNX graphs, checked against PyTorch."""
    changes = overrides_of(classes, labels, mean, std, resize)
    bundle = export_bundle(ExportOptions(model, out, weights, random_weights, seed, changes), _progress())
    show.show_artifacts(bundle, [*bundle.artifacts.values()], as_json=as_json)


@app.command()
def calibrate(
    bundle: BundlePath,
    calib_data: Data,
    calib_size: CalibSize = 256,
    calib_method: CalibMethod = "percentile",
    percentile: Percentile = 99.99,
    threads: Threads = None,
    max_corrupt: MaxCorrupt = 0,
    as_json: AsJson = False,
) -> None:
    """Calibrate on real images and write the int8 graphs."""
    opened = Bundle.open(bundle)
    options = CalibrateOptions(calib_data, calib_size, calib_method, percentile, threads, max_corrupt)
    calibrate_bundle(opened, options, _progress())
    keys = ("calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime")
    show.show_artifacts(opened, [opened.artifacts[key] for key in keys], as_json=as_json)


@app.command("build-engine")
def build_engine_command(
    bundle: BundlePath,
    fp16: Annotated[bool, typer.Option("--fp16", help="From the fp16 graph.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="From the int8 graph; calibrates first where there is none.")
    ] = False,
    calib_data: Annotated[str | None, typer.Option(metavar="DATA", help="Images to calibrate int8 on.")] = None,
    calib_size: CalibSize = 256,
    calib_method: CalibMethod = "percentile",
    percentile: Percentile = 99.99,
    min_batch: int = 1,
    opt_batch: int = 8,
    max_batch: int = 32,
    workspace: Annotated[
        int | None, typer.Option(min=1, metavar="MIB", help="Scratch memory of a layer, at most.")
    ] = None,
    flavor: Annotated[
        Flavor | None, typer.Option(help="Which TensorRT; the first that is installed if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build a TensorRT or TensorRT-RTX plan."""
    if fp16 == int8:
        raise UsageError("build-engine: expected one of --fp16 and --int8")
    opened, profile = Bundle.open(bundle), Profile(min_batch, opt_batch, max_batch)
    calibration = CalibrateOptions(calib_data, calib_size, calib_method, percentile) if calib_data and int8 else None
    precision = Precision.INT8 if int8 else Precision.FP16
    plan = build_engine(opened, BuildOptions(precision, profile, flavor, workspace, calibration), _progress())
    show.show_artifacts(opened, [plan], as_json=as_json)


@app.command()
def bench(
    bundle: BundlePath,
    data: Data = "digits",
    batches: Annotated[str, typer.Option(metavar="N,N", help="Batch sizes.")] = "1,8",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender at each batch size.")] = 10,
    iterations: Annotated[int, typer.Option(min=1, help="Runs in a turn, at most.")] = 20,
    backend: Backend = None,
    precision: Precision | None = None,
    threads: Threads = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many images for accuracy, at most.")] = None,
    max_corrupt: MaxCorrupt = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For the reports; BUNDLE/reports if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure latency, accuracy and memory of every contender side by side."""
    options = MeasureOptions(
        data, backend, precision, parse_batches(batches), rounds, iterations, threads, limit, max_corrupt
    )  # fmt: skip
    progress = _progress()
    report = bench_bundle(Bundle.open(bundle), options, progress)
    write_reports(report, out or bundle / "reports", "bench", progress)
    show.show_report(report, as_json=as_json)


@app.command("eval")
def evaluate(
    bundle: BundlePath,
    data: Data = "digits",
    backend: Backend = None,
    precision: Precision | None = None,
    max_drop: Annotated[
        float | None, typer.Option(min=0, help="Exit 3 if a row loses more points of top-1 than that.")
    ] = None,
    threads: Threads = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many images, at most.")] = None,
    max_corrupt: MaxCorrupt = 0,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy alone, with a gate."""
    options = MeasureOptions(data, backend, precision, threads=threads, limit=limit, max_corrupt=max_corrupt)
    report = evaluate_bundle(Bundle.open(bundle), options, _progress())
    show.show_report(report, as_json=as_json)
    if max_drop is not None:
        check_drop(report, max_drop)


@app.command()
def predict(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    backend: Backend = None,
    precision: Precision | None = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes an image.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Print the labels and scores of images."""
    show.show_predictions(predict_files(bundle, images, top_k, (backend, precision)), as_json=as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For training, bundle and reports.")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    as_json: AsJson = False,
) -> None:
    """Run the main job once, on real handwritten digits: train, export, calibrate, build, bench."""
    progress = _progress()
    report = run_demo(DemoOptions(out, epochs=epochs), progress)
    show.show_report(report, as_json=as_json)
