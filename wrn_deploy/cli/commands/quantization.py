"""The commands that quantize, build and check: calibrate, build-engine, tune, finetune, lint; 15 lines at most each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import engines as eng
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.shared import flag, option
from wrn_deploy.cli.show import tables as show
from wrn_deploy.cli.show.finetuning import show_finetuning
from wrn_deploy.cli.show.lint import show_lint
from wrn_deploy.cli.show.tuning import show_tuning
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.finetuning.finetune import (
    FinetuneOptions,
    Loss,
    Schedule,
    check_finetuning,
    finetune_bundle,
)
from wrn_deploy.pipeline.picture_file import check_picture
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.fp8 import add_fp8
from wrn_deploy.pipeline.quantization.lint import Target, check_findings, lint_file
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding, WeightScales
from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tuning, tune_bundle, write_picture

__all__ = ["build_engine_command", "calibrate", "finetune", "lint", "tune"]


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
    fp8: Annotated[bool, flag("--fp8", "Write a graph with fp8 codes too; experimental.")] = False,
    threads: opt.Threads = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    as_json: opt.AsJson = False,
) -> None:
    """Calibrate on real images and write the int8 graphs."""
    opened = Bundle.open(bundle)
    how = Quantization(exact_input, weight_scales, bias_correction, rounding, learning_steps)
    options = CalibrateOptions(
        calib_data, calib_size, calib_method, percentile, equalize, how,
        threads, opt.parse_allowance(max_corrupt), workers,
    )  # fmt: skip
    calibrate_bundle(opened, options, new_progress())
    made = ["calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime"]
    if fp8:
        made.append(add_fp8(opened, options, new_progress()).key)
    show.show_artifacts(opened, made, as_json=as_json)


@app.command("build-engine")
def build_engine_command(
    bundle: opt.BundlePath,
    fp16: eng.Fp16 = False,
    int8: eng.Int8 = False,
    bf16: eng.Bf16 = False,
    fp8: eng.Fp8 = False,
    flavor: eng.FlavorOf = None,
    profile: eng.Profiles = [eng.DEFAULT_PROFILE],  # noqa: B006  (typer copies it)
    workspace: eng.Workspace = None,
    optimization_level: eng.Level = None,
    timing_cache: eng.TimingCache = None,
    tf32: eng.Tf32 = True,
    refit: eng.Refit = False,
    strip: eng.Strip = False,
    version_compatible: eng.VersionCompatible = False,
    hardware: eng.HardwareOf = None,
    compute_capability: eng.Capabilities = None,
    calib_data: opt.CalibDataFirst = None,
    calib_size: opt.CalibSize = 256,
    calib_method: opt.CalibMethod = "mse",
    percentile: opt.Percentile = 99.99,
    rebuild: eng.Rebuild = False,
    as_json: opt.AsJson = False,
) -> None:
    """Build a TensorRT or TensorRT-RTX plan."""
    precision, targets = (
        eng.precision_of(fp16=fp16, int8=int8, bf16=bf16, fp8=fp8),
        eng.parse_capabilities(compute_capability),
    )
    if calib_data and not int8:
        raise UsageError(f"--calib-data {calib_data} with --{precision}: expected it with --int8 alone")
    limits = (eng.parse_profiles(profile), workspace, optimization_level, tf32)
    engine = EngineOptions(*limits, version_compatible, hardware, targets, refit, strip, timing_cache)
    calibration = CalibrateOptions(calib_data, calib_size, calib_method, percentile) if calib_data else None
    opened, options = Bundle.open(bundle), BuildOptions(precision, engine, flavor, calibration, rebuild)
    plan = build_engine(opened, options, new_progress())
    show.show_artifacts(opened, (plan.key,), as_json=as_json)


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
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    out: Annotated[Path | None, option("FILE", "For the picture; BUNDLE/reports/frontier.svg if not given.")] = None,
    calib_data: opt.CalibDataFirst = None,
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
    opened, progress, picture = Bundle.open(bundle), new_progress(), out or bundle / "reports" / "frontier.svg"
    allowed, how = opt.parse_allowance(max_corrupt), (calib_size, calib_method, percentile, True, Quantization())
    calibration = CalibrateOptions(calib_data, *how, threads, allowed, workers) if calib_data else None
    options = TuneOptions(data, max_drop, min_agreement, calibration, threads, limit, allowed, workers)
    check_picture(picture)
    tuning = tune_bundle(opened, options, progress)
    show_tuning(tuning, as_json=as_json)
    write_picture(tuning, picture, progress)
    check_tuning(tuning)


@app.command()
def finetune(
    bundle: opt.BundlePath,
    data: Annotated[str, option("DATA", f"Images to train on; labels only where --loss needs them: {opt.DATA}.")],
    test_data: Annotated[
        str | None, option("DATA", "Held-out images to judge by; some of the others if not given.")
    ] = None,
    loss: Annotated[
        Loss, typer.Option(rich_help_panel=opt.RECIPE, help="What is learned: fp32's answers, labels, or both.")
    ] = Loss.DISTILL,
    steps: Annotated[int, option("N", "Steps of the optimizer.", opt.RECIPE, least=1)] = 200,
    epochs: Annotated[float | None, option("X", "Passes over the data, instead of --steps.", opt.RECIPE)] = None,
    batch_size: Annotated[int, option("N", "Images a step.", opt.RECIPE, least=1)] = 64,
    lr: Annotated[float, option("X", "Rate at the start, in steps of int8; it falls to 0.", opt.RECIPE)] = 0.01,
    scales: Annotated[bool, flag("--scales/--no-scales", "Train scales too.", rich_help_panel=opt.RECIPE)] = True,
    mirror: Annotated[bool, option("", "Mirror half of the images, where the data allows it.", opt.RECIPE)] = True,
    shift: Annotated[int, option("N", "Shift images by up to so many pixels.", opt.RECIPE, least=0)] = 4,
    seed: Annotated[int, option("N", "Of order and augmentation.", opt.RECIPE, least=0)] = 0,
    target: Annotated[
        list[Target] | None, typer.Option(help="The runtime whose graph is trained; repeatable; both if not given.")
    ] = None,
    limit: Annotated[int | None, option("N", "Use so many of the images, spread evenly.", least=1)] = None,
    threads: opt.Threads = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    as_json: opt.AsJson = False,
) -> None:
    """Fine-tune the int8 graphs: quantization-aware training from the calibrated bundle.

    The weights, and their scales, are trained through the very arithmetic of the
    Q/DQ graphs, which keep their nodes. Written is what is better on held-out
    images; exit code 3 if no graph is.
    """
    opened, schedule = Bundle.open(bundle), Schedule(steps, batch_size, lr, loss, scales, seed)
    targets = tuple(dict.fromkeys(target or Target))
    how = (mirror, shift, threads, opt.parse_allowance(max_corrupt), workers)
    options = FinetuneOptions(data, test_data, schedule, epochs, targets, limit, *how)
    result = finetune_bundle(opened, options, new_progress())
    show_finetuning(result, as_json=as_json)
    check_finetuning(result)


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
