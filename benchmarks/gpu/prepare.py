"""What both GPU benchmarks do before they measure: require a GPU, and build the plans that can be built here."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

__all__ = ["build_plans", "require_gpu"]


def require_gpu(*, dry_run: bool) -> None:
    """Ends the program with code 4 without a GPU, unless it is a dry run."""
    if find_gpu() is None and not dry_run:
        print("no CUDA GPU on this machine: run it on one, or with --dry-run", file=sys.stderr)  # noqa: T201
        sys.exit(MachineError.exit_code)


def build_plans(
    bundle: Bundle, precisions: Iterable[Precision], options: EngineOptions, progress: Progress
) -> list[str]:
    """Builds a plan for each precision with every installed TensorRT; returns a sentence for each that failed."""
    failures = []
    for precision in precisions:
        for flavor in installed_flavors():
            try:
                build = BuildOptions(precision=precision, engine=options, flavor=flavor, pixels=False)  # as the others
                build_engine(bundle, build, progress)
            except DeployError as error:
                failures.append(f"{bundle.spec.name} {flavor} {precision} not built: {error}")
    return failures
