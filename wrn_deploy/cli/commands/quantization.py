"""The commands that quantize, and check what was quantized: calibrate, tune, finetune, lint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.calib.options import Loss, Rounding, Schedule, WeightScales
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.cluster import ClusterFlags, SpreadFlags
from wrn_deploy.cli.options.declare import choice, either, flag, option, takes_groups, values
from wrn_deploy.cli.options.shared import RECIPE
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.errors import UsageError
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    from wrn_deploy.bench.report.tuning import Tuning
    from wrn_deploy.cluster.work import Finished
    from wrn_deploy.pipeline.tuning.tune import TuneOptions
    from wrn_deploy.progress import Progress

__all__ = ["app"]

TECHNIQUES = "Accuracy techniques of int8"

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class TechniqueFlags:
    """The techniques that act when the int8 graphs are written; the fields are those of `Quantization`."""

    PANEL: ClassVar[str] = TECHNIQUES

    exact_input: Annotated[
        bool | None,
        either("exact-input", "Feed exact pixel codes to the first Conv; TensorRT graph. Default: if it helps."),
    ] = None
    full_range: Annotated[bool, either("full-range", "Shift ReLU outputs to use all int8 codes; TensorRT graph.")] = (
        True
    )
    weights: Annotated[WeightScales, choice(WeightScales, "Granularity of weight scales:", name="--weight-scales")] = (
        WeightScales.CHANNEL
    )
    rounding: Annotated[Rounding, choice(Rounding, "How to round weights:")] = Rounding.FEEDBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneFlags:
    """The budget and the images to measure it on; the fields are those of `TuneOptions`."""

    data: opt.Data
    max_drop: Annotated[
        float | None, option("X", "Maximum loss of top-1 against fp32 in points, such as 0.1.", minimum=0)
    ] = None
    min_agreement: Annotated[
        float | None, option("X", "Minimum percentage of images with fp32's prediction, such as 99.5.", minimum=0)
    ] = None
    threads: opt.Threads = None
    limit: opt.Limit = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFlags:
    """The plan to tune instead, and how to measure; the fields are those of `EngineTuneOptions`."""

    PANEL: ClassVar[str] = "Tuning a plan"

    engine: Annotated[
        Precision | None,
        choice(Precision, "Build the TensorRT plan of this precision in several ways, and keep the fastest:"),
    ] = None
    batch: Annotated[
        int | None,
        option("N", "Batch size to time. Default: the first profile's optimum.", minimum=1, name="--batch-size"),
    ] = None
    rounds: Annotated[int, option("N", "How often to measure each build.", minimum=1)] = 30
    duration_s: Annotated[float, option("SECONDS", "Total time per build.", name="--duration")] = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFlags:
    """The options of the training loop; the fields are those of `Schedule`."""

    PANEL: ClassVar[str] = RECIPE

    loss: Annotated[Loss, choice(Loss, "What to learn (distill: fp32's outputs):")] = Loss.DISTILL
    steps: Annotated[int, option("N", "Optimizer steps.", minimum=1)] = 200
    batch: Annotated[int, option("N", "Images per step.", minimum=1, name="--batch-size")] = 64
    rate: Annotated[float, option("X", "Initial learning rate, in int8 steps; decays to 0.", name="--lr")] = 0.01
    scales: Annotated[bool, either("scales", "Train the scales too.")] = True
    seed: Annotated[int, option("N", "Random seed for order and augmentation.", minimum=0)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneFlags:
    """The images and what happens to them; the fields are those of `FinetuneOptions`."""

    data: Annotated[str, option("DATA", f"Training images; labelled for --loss labels and both: {opt.DATA}.")]
    test_data: Annotated[
        str | None, option("DATA", "Held-out images that decide what is kept. Default: some of --data.")
    ] = None
    epochs: Annotated[float | None, option("X", "Epochs, instead of --steps.", RECIPE)] = None
    mirror: Annotated[bool, either("mirror", "Mirror half of the images, if the data allows it.", RECIPE)] = True
    shift: Annotated[int, option("N", "Shift images by up to N pixels.", RECIPE, minimum=0)] = 4
    limit: Annotated[int | None, option("N", "Use N of the images, sampled evenly.", minimum=1)] = None
    threads: opt.Threads = None


@app.command()
@takes_groups
def calibrate(
    *,
    bundle: opt.BundlePath,
    calib_data: Annotated[
        str | None, option("DATA", f"Calibration images, labelled or not: {opt.DATA}. Required without --merge.")
    ] = None,
    calibration: opt.CalibrationFlags,
    techniques: TechniqueFlags,
    equalize: Annotated[
        bool, either("equalize", "Rescale channels so that one scale suits all; exact in fp32.", TECHNIQUES)
    ] = True,
    fp8: Annotated[bool, flag("--fp8", "Experimental. Also write an fp8 graph.")] = False,
    threads: opt.Threads = None,
    decoding: opt.DecodingFlags,
    shards: opt.ShardFlags,
    cluster: SpreadFlags,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Calibrate on real images and write the int8 graphs.

    Several machines can share the work: each collects one shard with --shard, and --merge makes the same table and
    graphs, to the last bit, as one pass; --ray does both. All must have the same type of CPU and the same versions.
    """
    from wrn_deploy.cli.show.results import show_artifacts, show_shard
    from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle
    from wrn_deploy.pipeline.quantization.quantize import Quantization

    made = ["calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime"]
    if shards.merge:
        from wrn_deploy.pipeline.quantization.shards import merge_calibration

        opened = Bundle.open(bundle)
        merge_calibration(opened, shards.merge, new_progress(), threads=threads)
        show_artifacts(opened, made, as_json=as_json)
        return
    if calib_data is None:
        raise UsageError("no images: expected --calib-data DATA, or --merge PATH with the shards of a calibration")
    block = shards.block
    opened = Bundle.open(bundle)
    quantization = Quantization(**values(techniques))
    options = calibration.options(
        calib_data, equalize=equalize, quantization=quantization, threads=threads, **decoding.options()
    )
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.making import forecast_calibration

        show_forecast(forecast_calibration(opened, options), as_json=as_json)
        return
    if block is not None:
        from wrn_deploy.pipeline.quantization.shards import calibrate_shard

        show_shard(calibrate_shard(opened, options, *block, new_progress()), as_json=as_json)
        return
    if cluster.ray is not None:
        from wrn_deploy.pipeline.spread import spread_calibration

        spread_calibration(opened, options, cluster.run, new_progress(), cluster.ray_shards)
    else:
        calibrate_bundle(opened, options, new_progress())
    if fp8:
        from wrn_deploy.pipeline.quantization.fp8 import add_fp8

        made.append(add_fp8(opened, options, new_progress()).key)
    show_artifacts(opened, made, as_json=as_json)


@app.command()
@takes_groups
def tune(
    bundles: opt.BundlePaths,
    flags: TuneFlags,
    plan: EngineFlags,
    calibration: opt.CalibrationFlags,
    decoding: opt.DecodingFlags,
    cluster: ClusterFlags,
    out: Annotated[
        Path | None, option("FILE", "SVG file to write, of one bundle. Default: BUNDLE/reports/frontier.svg.")
    ] = None,
    calib_data: opt.CalibDataFirst = None,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Find the Convs that lose accuracy in int8, and keep the fewest in fp16.

    Keeps as few multiply-accumulates in fp16 as it can find so that the budget is met: --max-drop, --min-agreement or
    both. Writes the int8 graph for TensorRT accordingly; exit code 3 if no set meets the budget.

    With --engine, tunes a plan instead: builds it at several optimization levels, measures each on this GPU, and keeps
    the fastest.

    Several bundles are tuned one after the other, or each on a node of a Ray cluster (--ray).
    """
    bundle, several = bundles[0], len(bundles) > 1 or cluster.ray is not None
    if several and (plan.engine is not None or out is not None or dry_run):
        raise UsageError("--engine, --out or --dry-run with several bundles or --ray: expected one bundle, here")
    if plan.engine is not None:
        _tune_engine(bundle, flags.data, plan, as_json=as_json)
        return
    from wrn_deploy.cli.show.quantization import show_tuning
    from wrn_deploy.pipeline.output_files import check_picture, reports_of
    from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tuning, tune_bundle, write_picture

    progress, decoded = new_progress(), decoding.options()
    calibrate_first = calibration.options(calib_data, threads=flags.threads, **decoded) if calib_data else None
    options = TuneOptions(**values(flags), calibrate=calibrate_first, **decoded)
    if several:
        _tune_all(tuple(bundles), options, cluster, progress, as_json=as_json)
        return
    opened, picture = Bundle.open(bundle), out or reports_of(bundle) / "frontier.svg"
    check_picture(picture)
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.improving import forecast_tuning

        show_forecast(forecast_tuning(opened, options), as_json=as_json)
        return
    tuning = tune_bundle(opened, options, progress)
    show_tuning(tuning, as_json=as_json)
    write_picture(tuning, picture, progress)
    check_tuning(tuning)


def _tune_all(
    bundles: tuple[Path, ...], options: TuneOptions, cluster: ClusterFlags, progress: Progress, *, as_json: bool
) -> None:
    from wrn_deploy.cli.show.quantization import show_tuning
    from wrn_deploy.pipeline.output_files import check_picture, reports_of
    from wrn_deploy.pipeline.tuning.sweep import plan_tuning, tuning_of
    from wrn_deploy.pipeline.tuning.tune import check_tuning, write_picture

    job = plan_tuning(bundles, options)
    pictures = [check_picture(reports_of(bundle) / "frontier.svg") for bundle in bundles]
    found: dict[int, Tuning] = {}

    def take(finished: Finished) -> None:
        found[finished.shard] = tuning_of(finished)
        write_picture(found[finished.shard], pictures[finished.shard], progress)

    cluster.run(job, take, progress, whole_nodes=True)
    for shard in job.shards:
        show_tuning(found[shard], as_json=as_json)
    for shard in job.shards:
        check_tuning(found[shard])


def _tune_engine(bundle: Path, data: str, flags: EngineFlags, *, as_json: bool) -> None:
    from wrn_deploy.cli.show.engine_tuning import show_engine_tuning
    from wrn_deploy.pipeline.tuning.engine import EngineTuneOptions, tune_engine

    given = values(flags)
    options = EngineTuneOptions(precision=given.pop("engine"), data=data, **given)
    show_engine_tuning(tune_engine(Bundle.open(bundle), options, new_progress()), as_json=as_json)


@app.command()
@takes_groups
def finetune(
    bundle: opt.BundlePath,
    schedule: ScheduleFlags,
    flags: FinetuneFlags,
    decoding: opt.DecodingFlags,
    target: Annotated[
        list[Target] | None, choice(Target, "Runtime whose graph to train; repeatable; both by default:")
    ] = None,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Fine-tune the int8 graphs: quantization-aware training from the calibrated bundle.

    Trains the weights, and their scales, through the exact arithmetic of the Q/DQ graphs, whose nodes stay. Writes
    the graphs that are better on held-out images; exit code 3 if none is. With torchrun, several processes train
    together.
    """
    from wrn_deploy.cli.show.quantization import show_finetuning
    from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, check_finetuning, finetune_bundle

    opened = Bundle.open(bundle)
    targets = tuple(dict.fromkeys(target or Target))
    options = FinetuneOptions(
        **values(flags), schedule=Schedule(**values(schedule)), targets=targets, **decoding.options()
    )
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.improving import forecast_finetuning

        show_forecast(forecast_finetuning(opened, options), as_json=as_json)
        return
    result = finetune_bundle(opened, options, new_progress())
    if os.environ.get("RANK", "0") == "0":  # of several processes, the first one prints
        show_finetuning(result, as_json=as_json)
    check_finetuning(result)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any Q/DQ graph in ONNX.")],
    target: Annotated[
        Target | None, choice(Target, "Target runtime; inferred from the zero points by default:")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Find what keeps a Q/DQ graph from running in int8; exit code 3 on an error."""
    from wrn_deploy.cli.show.quantization import show_lint
    from wrn_deploy.pipeline.quantization.lint import check_findings, lint_file

    report = lint_file(file, target)
    show_lint(report, as_json=as_json)
    check_findings(report)
