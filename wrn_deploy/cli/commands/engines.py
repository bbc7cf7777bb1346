"""The command that builds an engine: build-engine."""

from __future__ import annotations

from typing import Annotated

import typer

from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.declare import choice, flag, takes_groups
from wrn_deploy.cli.options.engines import PlanFlags, PrecisionFlags
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.errors import UsageError

__all__ = ["app"]

app = typer.Typer()


@app.command("build-engine")
@takes_groups
def build_engine_command(
    bundle: opt.BundlePath,
    precisions: PrecisionFlags,
    plan: PlanFlags,
    calibration: opt.CalibrationFlags,
    flavor: Annotated[Flavor | None, choice(Flavor, "Which TensorRT; the first installed by default:")] = None,
    calib_data: opt.CalibDataFirst = None,
    rebuild: Annotated[bool, flag("--rebuild", "Build even if the plan is up to date.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Build a TensorRT or TensorRT-RTX plan."""
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.results import show_artifacts
    from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine

    precision = precisions.precision()
    if calib_data and not precisions.int8:
        raise UsageError(f"--calib-data {calib_data} with --{precision}: expected it with --int8 only")
    options = BuildOptions(
        precision=precision,
        engine=plan.engine(),
        flavor=flavor,
        calibrate=calibration.options(calib_data) if calib_data else None,
        rebuild=rebuild,
    )
    opened = Bundle.open(bundle)
    built = build_engine(opened, options, new_progress())
    show_artifacts(opened, [built.key], as_json=as_json)
