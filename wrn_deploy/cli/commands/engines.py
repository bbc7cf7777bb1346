"""The command that builds an engine: build-engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import choice, either, flag, option, takes_groups, values
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.engines.options import EngineOptions, Hardware, Tiling, parse_profile
from wrn_deploy.errors import UsageError
from wrn_deploy.spec import Precision

__all__ = ["app", "parse_capabilities"]

BATCHES, TARGET = "Batch sizes", "Where the plan runs"

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionFlags:
    """Which graph the plan is built from; each field is the name of a precision."""

    PANEL: ClassVar[str] = "Precision"

    fp16: Annotated[bool, flag("--fp16", "Build from the fp16 graph.")] = False
    int8: Annotated[bool, flag("--int8", "Build from the int8 graph, which `calibrate` makes.")] = False
    bf16: Annotated[bool, flag("--bf16", "Experimental. Build from the bf16 graph.")] = False
    fp8: Annotated[bool, flag("--fp8", "Experimental. Build from the fp8 graph, which `calibrate --fp8` makes.")] = (
        False
    )

    def precision(self) -> Precision:
        """The one precision that was given; raises UsageError if there is none, or several."""
        given = [name for name, wanted in values(self).items() if wanted]
        if len(given) != 1:
            found = " and ".join(f"--{name}" for name in given) if given else "no precision"
            raise UsageError(f"{found} given: expected one of {', '.join(f'--{name}' for name in values(self))}")
        return Precision(given[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFlags:
    """What the plan is built for, and how."""

    PANEL: ClassVar[str] = "Builder"

    profiles: Annotated[
        list[str] | None,
        option(
            "MIN:OPT:MAX",
            "Minimum, optimal and maximum batch size; repeatable. Default: 1:8:32.",
            BATCHES,
            name="--profile",
        ),
    ] = None
    workspace_mib: Annotated[
        int | None, option("MIB", "Maximum scratch memory per layer.", minimum=1, name="--workspace")
    ] = None
    level: Annotated[
        int | None, option("0..5", "Higher levels search longer. Default: TensorRT's, 3.", name="--optimization-level")
    ] = None
    aux_streams: Annotated[
        int | None, option("N", "Additional CUDA streams per inference. Default: TensorRT decides.")
    ] = None
    tiling: Annotated[
        Tiling | None, choice(Tiling, "How long to search for L2 cache tiling; TensorRT only, not RTX:")
    ] = None
    timing_iterations: Annotated[
        int | None, option("N", "How often to time each kernel; TensorRT only, not RTX. Default: 1.")
    ] = None
    timing_cache: Annotated[
        Path | None, option("FILE", "Kernel times to read and update. Default: a file in the user's cache folder.")
    ] = None
    no_timing_cache: Annotated[bool, flag("--no-timing-cache", "Time every kernel, and save no times.")] = False
    tf32: Annotated[bool, flag("--tf32/--no-tf32", "Let fp32 layers use TF32.")] = True
    refit: Annotated[bool, flag("--refit", "Make the plan refittable: its weights can be replaced.")] = False
    strip: Annotated[bool, flag("--strip", "Build without weights; the application must refit the engine.")] = False
    version_compatible: Annotated[
        bool,
        flag(
            "--version-compatible",
            "Also run on later TensorRT versions and the lean runtime; TensorRT only, not RTX.",
            TARGET,
        ),
    ] = False
    exclude_lean_runtime: Annotated[
        bool, flag("--exclude-lean-runtime", "With --version-compatible: leave the runtime out of the plan.", TARGET)
    ] = False
    hardware: Annotated[
        Hardware | None,
        choice(Hardware, "Also run on these GPUs; TensorRT only, not RTX:", TARGET, name="--hardware-compatible"),
    ] = None
    compute_capabilities: Annotated[
        list[str] | None,
        option(
            "X.Y",
            "Target GPU for TensorRT-RTX, such as 8.9 or SM89; repeatable. Default: SM80 and later.",
            TARGET,
            name="--compute-capability",
        ),
    ] = None

    def options(self) -> EngineOptions:
        """The options that the engine's builder takes; raises UsageError if they contradict each other."""
        profiles = tuple(map(parse_profile, self.profiles or ["1:8:32"]))
        capabilities = parse_capabilities(self.compute_capabilities or [])
        return EngineOptions(**{**values(self), "profiles": profiles, "compute_capabilities": capabilities})


def parse_capabilities(texts: Sequence[str]) -> tuple[str, ...]:
    """TensorRT's names of compute capabilities, "8.9" being "SM89"; other texts are left to the builder to refuse."""
    numbers = re.compile(r"(\d+)\.(\d)")
    return tuple(f"SM{found[1]}{found[2]}" if (found := numbers.fullmatch(text)) else text for text in texts)


@app.command("build-engine")
@takes_groups
def build_engine_command(
    bundle: opt.BundlePath,
    precisions: PrecisionFlags,
    plan: PlanFlags,
    calibration: opt.CalibrationFlags,
    flavor: Annotated[Flavor | None, choice(Flavor, "Which TensorRT; the first installed by default:")] = None,
    pixels: Annotated[
        bool, either("pixels", "Take pixels (uint8, N x H x W x 3) and normalise them; otherwise normalised images.")
    ] = True,
    calib_data: opt.CalibDataFirst = None,
    rebuild: Annotated[bool, flag("--rebuild", "Rebuild even if the plan is up to date.")] = False,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Build a TensorRT or TensorRT-RTX plan.

    The plan is the file. TensorRT makes an engine of it when the plan is opened.
    """
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine

    precision = precisions.precision()
    if calib_data and precision is not Precision.INT8:
        raise UsageError(f"--calib-data {calib_data} with --{precision}: expected it with --int8 only")
    calibrate = calibration.options(calib_data) if calib_data else None
    options = BuildOptions(
        precision=precision,
        engine=plan.options(),
        flavor=flavor,
        pixels=pixels,
        calibrate=calibrate,
        rebuild=rebuild,
    )
    opened = Bundle.open(bundle)
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.making import forecast_build

        show_forecast(forecast_build(opened, options), as_json=as_json)
        return
    built = build_engine(opened, options, new_progress())
    show_artifacts(opened, [built.key], as_json=as_json)
