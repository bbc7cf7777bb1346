"""The commands that quantize, build and check: calibrate, build-engine, tune, finetune, lint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.bundle import Bundle
from wrn_deploy.cli import engine_options as eng
from wrn_deploy.cli import options as opt
from wrn_deploy.cli import show
from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import flag, option
from wrn_deploy.cli.show_finetuning import show_finetuning
from wrn_deploy.cli.show_lint import show_lint
from wrn_deploy.cli.show_tuning import show_tuning
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
    quantization = Quantization(
        exact_input=exact_input,
        weights=weight_scales,
        bias_correction=bias_correction,
        rounding=rounding,
        learning_steps=learning_steps,
    )
    options = CalibrateOptions(
        data=calib_data,
        size=calib_size,
        method=calib_method,
        percentile=percentile,
        equalize=equalize,
        quantization=quantization,
        threads=threads,
        max_corrupt=opt.parse_allowance(max_corrupt),
        workers=workers,
    )
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
    precision = eng.precision_of(fp16=fp16, int8=int8, bf16=bf16, fp8=fp8)
    if calib_data and not int8:
        raise UsageError(f"--calib-data {calib_data} with --{precision}: expected it with --int8 alone")
    engine = EngineOptions(
        profiles=eng.parse_profiles(profile),
        workspace_mib=workspace,
        level=optimization_level,
        tf32=tf32,
        version_compatible=version_compatible,
        hardware=hardware,
        compute_capabilities=eng.parse_capabilities(compute_capability),
        refit=refit,
        strip=strip,
        timing_cache=timing_cache,
    )
    calibration = None
    if calib_data:
        calibration = CalibrateOptions(data=calib_data, size=calib_size, method=calib_method, percentile=percentile)
    opened = Bundle.open(bundle)
    options = BuildOptions(precision=precision, engine=engine, flavor=flavor, calibrate=calibration, rebuild=rebuild)
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

    Keeps the fewest multiply-accumulates in fp16 that meet the budget: --max-drop,
    --min-agreement or both. Writes the int8 graph for TensorRT; exit code 3 if no
    set meets the budget.
    """
    opened, progress = Bundle.open(bundle), new_progress()
    picture = out or bundle / "reports" / "frontier.svg"
    allowed = opt.parse_allowance(max_corrupt)
    calibration = None
    if calib_data:
        calibration = CalibrateOptions(
            data=calib_data,
            size=calib_size,
            method=calib_method,
            percentile=percentile,
            threads=threads,
            max_corrupt=allowed,
            workers=workers,
        )
    options = TuneOptions(
        data=data,
        max_drop=max_drop,
        min_agreement=min_agreement,
        calibrate=calibration,
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
    data: Annotated[str, option("DATA", f"Images to train on; labels if --loss needs them: {opt.DATA}.")],
    test_data: Annotated[
        str | None, option("DATA", "Held-out images to judge by; a part of the others if not given.")
    ] = None,
    loss: Annotated[
        Loss, typer.Option(rich_help_panel=opt.RECIPE, help="The target: fp32's answers, labels, or both.")
    ] = Loss.DISTILL,
    steps: Annotated[int, option("N", "Steps of the optimizer.", opt.RECIPE, least=1)] = 200,
    epochs: Annotated[float | None, option("X", "Passes over the data, instead of --steps.", opt.RECIPE)] = None,
    batch_size: Annotated[int, option("N", "Images a step.", opt.RECIPE, least=1)] = 64,
    lr: Annotated[
        float, option("X", "Learning rate at the start, in steps of int8; it falls to 0.", opt.RECIPE)
    ] = 0.01,
    scales: Annotated[bool, flag("--scales/--no-scales", "Train scales too.", rich_help_panel=opt.RECIPE)] = True,
    mirror: Annotated[bool, option("", "Mirror half of the images, if the data allows it.", opt.RECIPE)] = True,
    shift: Annotated[int, option("N", "Shift images by up to N pixels.", opt.RECIPE, least=0)] = 4,
    seed: Annotated[int, option("N", "Seed of order and augmentation.", opt.RECIPE, least=0)] = 0,
    target: Annotated[
        list[Target] | None, typer.Option(help="The runtime whose graph is trained; repeatable; both if not given.")
    ] = None,
    limit: Annotated[int | None, option("N", "Use N of the images, spread evenly.", least=1)] = None,
    threads: opt.Threads = None,
    max_corrupt: opt.MaxCorrupt = "0",
    workers: opt.Workers = None,
    as_json: opt.AsJson = False,
) -> None:
    """Fine-tune the int8 graphs: quantization-aware training from the calibrated bundle.

    Trains weights and scales through the arithmetic of the Q/DQ graphs, which keep
    their nodes. Writes the graphs that improve on held-out images; exit code 3 if
    none does.
    """
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
        max_corrupt=opt.parse_allowance(max_corrupt),
        workers=workers,
    )
    result = finetune_bundle(opened, options, new_progress())
    show_finetuning(result, as_json=as_json)
    check_finetuning(result)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Q/DQ graph in ONNX.")],
    target: Annotated[
        Target | None, typer.Option(help="The runtime it is for; found by its zero points if not given.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Find what keeps a Q/DQ graph from running in int8; exit code 3 if there is an error."""
    report = lint_file(file, target)
    show_lint(report, as_json=as_json)
    check_findings(report)
