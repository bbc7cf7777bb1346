"""The commands that quantize, and check what was quantized: calibrate, tune, finetune, lint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.calib.options import Loss
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import choice, either, flag, option, takes_groups
from wrn_deploy.cli.options.quantization import TECHNIQUES, TechniqueFlags
from wrn_deploy.cli.progress import new_progress

__all__ = ["app"]

app = typer.Typer()


@app.command()
@takes_groups
def calibrate(
    bundle: opt.BundlePath,
    calib_data: Annotated[str, option("DATA", f"Images, labelled or not: {opt.DATA}.")],
    calibration: opt.CalibrationFlags,
    techniques: TechniqueFlags,
    equalize: Annotated[
        bool, either("equalize", "Rescale channels so that they share one scale well; exact.", TECHNIQUES)
    ] = True,
    fp8: Annotated[bool, flag("--fp8", "Experimental. Write a graph with fp8 codes too.")] = False,
    threads: opt.Threads = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    as_json: opt.AsJson = False,
) -> None:
    """Calibrate on real images and write the int8 graphs."""
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.data.corrupt import parse_max_corrupt
    from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle

    opened = Bundle.open(bundle)
    options = dataclasses.replace(
        calibration.options(calib_data),
        equalize=equalize,
        quantization=techniques.quantization(),
        threads=threads,
        max_corrupt=parse_max_corrupt(max_corrupt),
        workers=workers,
    )
    calibrate_bundle(opened, options, new_progress())
    made = ["calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime"]
    if fp8:
        from wrn_deploy.pipeline.quantization.fp8 import add_fp8

        made.append(add_fp8(opened, options, new_progress()).key)
    show_artifacts(opened, made, as_json=as_json)


@app.command()
@takes_groups
def tune(
    bundle: opt.BundlePath,
    data: opt.Data,
    calibration: opt.CalibrationFlags,
    max_drop: Annotated[
        float | None, option("X", "Points of top-1 that may be lost against fp32, as in 0.1.", least=0)
    ] = None,
    min_agreement: Annotated[
        float | None, option("X", "Per cent of the images that must keep fp32's answer, as in 99.5.", least=0)
    ] = None,
    threads: opt.Threads = None,
    limit: opt.Limit = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    out: Annotated[Path | None, option("FILE", "For the picture. Default: BUNDLE/reports/frontier.svg.")] = None,
    calib_data: opt.CalibDataFirst = None,
    as_json: opt.AsJson = False,
) -> None:
    """Find the Convs that cost accuracy in int8, and keep the fewest in fp16.

    Keeps as few multiply-accumulates in fp16 as it can find so that the budget is met: --max-drop, --min-agreement or
    both. Writes the int8 graph for TensorRT accordingly; exit code 3 if no set meets the budget.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.tuning import show_tuning
    from wrn_deploy.data.corrupt import parse_max_corrupt
    from wrn_deploy.pipeline.picture_file import check_picture
    from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tuning, tune_bundle, write_picture

    opened, progress, picture = Bundle.open(bundle), new_progress(), out or bundle / "reports" / "frontier.svg"
    allowed = parse_max_corrupt(max_corrupt)
    calibrate_first = None
    if calib_data:
        calibrate_first = dataclasses.replace(
            calibration.options(calib_data), threads=threads, max_corrupt=allowed, workers=workers
        )
    options = TuneOptions(
        data=data,
        max_drop=max_drop,
        min_agreement=min_agreement,
        calibrate=calibrate_first,
        threads=threads,
        limit=limit,
        max_corrupt=allowed,
        workers=workers,
    )
    check_picture(picture)
    tuning = tune_bundle(opened, options, progress)
    show_tuning(tuning, as_json=as_json)
    write_picture(tuning, picture, progress)
    check_tuning(tuning)


@app.command()
def finetune(
    bundle: opt.BundlePath,
    data: Annotated[str, option("DATA", f"Images to train on; --loss may need labels: {opt.DATA}.")],
    test_data: Annotated[
        str | None, option("DATA", "Held-out images to judge by. Default: some of the others.")
    ] = None,
    loss: Annotated[Loss, choice(Loss, "What to learn (distill: fp32's answers):", opt.RECIPE)] = Loss.DISTILL,
    steps: Annotated[int, option("N", "Steps of the optimizer.", opt.RECIPE, least=1)] = 200,
    epochs: Annotated[float | None, option("X", "Passes over the data, instead of --steps.", opt.RECIPE)] = None,
    batch_size: Annotated[int, option("N", "Images per step.", opt.RECIPE, least=1)] = 64,
    lr: Annotated[float, option("X", "Initial learning rate, in steps of int8; it falls to 0.", opt.RECIPE)] = 0.01,
    scales: Annotated[bool, either("scales", "Train the scales too.", opt.RECIPE)] = True,
    mirror: Annotated[bool, either("mirror", "Mirror half of the images, if the data allows it.", opt.RECIPE)] = True,
    shift: Annotated[int, option("N", "Shift images by up to N pixels.", opt.RECIPE, least=0)] = 4,
    seed: Annotated[int, option("N", "Seed of order and augmentation.", opt.RECIPE, least=0)] = 0,
    target: Annotated[
        list[Target] | None, choice(Target, "Runtime whose graph is trained; repeatable; both by default:")
    ] = None,
    limit: Annotated[int | None, option("N", "Use N of the images, spread evenly.", least=1)] = None,
    threads: opt.Threads = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    as_json: opt.AsJson = False,
) -> None:
    """Fine-tune the int8 graphs: quantization-aware training from the calibrated bundle.

    Trains the weights, and their scales, through the exact arithmetic of the Q/DQ graphs, whose nodes stay. Writes
    the graphs that are better on held-out images; exit code 3 if none is.
    """
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.finetuning import show_finetuning
    from wrn_deploy.data.corrupt import parse_max_corrupt
    from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, check_finetuning, finetune_bundle

    opened = Bundle.open(bundle)
    options = FinetuneOptions(
        data=data,
        test_data=test_data,
        schedule=Schedule(steps=steps, batch=batch_size, rate=lr, loss=loss, scales=scales, seed=seed),
        epochs=epochs,
        targets=tuple(dict.fromkeys(target or Target)),
        limit=limit,
        mirror=mirror,
        shift=shift,
        threads=threads,
        max_corrupt=parse_max_corrupt(max_corrupt),
        workers=workers,
    )
    result = finetune_bundle(opened, options, new_progress())
    show_finetuning(result, as_json=as_json)
    check_finetuning(result)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any Q/DQ graph in ONNX.")],
    target: Annotated[
        Target | None, choice(Target, "The runtime it is for; inferred from its zero points by default:")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Find what keeps a Q/DQ graph from running in int8; exit code 3 on an error."""
    from wrn_deploy.cli.show.lint import show_lint
    from wrn_deploy.pipeline.quantization.lint import check_findings, lint_file

    report = lint_file(file, target)
    show_lint(report, as_json=as_json)
    check_findings(report)
