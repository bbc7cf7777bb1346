"""The build step: a plan from the bundle's fp16 or int8 graph, calibrating first where that is needed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wrn_deploy import __version__
from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    from wrn_deploy.engines.build import BuiltPlan, Profile
    from wrn_deploy.engines.flavor import Flavor, TensorRT

__all__ = ["BuildOptions", "build_engine"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What to build; `calibrate` is used for int8 alone, None: with the table that the bundle has."""

    precision: Precision
    profile: Profile
    flavor: Flavor | None = None
    workspace_mib: int | None = None
    calibrate: CalibrateOptions | None = None


def build_engine(bundle: Bundle, options: BuildOptions, progress: Progress) -> Artifact:
    """Adds a plan, `<precision>-<flavour>.plan`, and returns its artifact.

    Raises:
        UsageError: int8 without a calibration table and without calibration data.
        MachineError: no TensorRT is installed.
        DeployError: the bundle lacks the graph, or TensorRT cannot build it.
    """
    from wrn_deploy.engines.build import build_plan
    from wrn_deploy.engines.flavor import find_flavor

    trt = find_flavor(options.flavor)
    graph = _graph(bundle, options, progress)
    recipe = _recipe(graph, options, trt)
    key = f"plan-{options.precision}-{trt.flavor}"
    there = bundle.current(key, recipe)
    if there is not None:
        progress.note(f"{bundle.folder}: {there.path} is up to date")
        return there
    with progress.task(f"Building {options.precision} plan with {trt.flavor} {trt.version}"):
        built = build_plan(trt, bundle.file(graph), bundle.spec.input, options.profile, options.workspace_mib)
    path = f"{options.precision}-{trt.flavor}.plan"
    with bundle.transaction() as step:
        step.file(path).write_bytes(built.plan)
        return step.add(key, (Kind.PLAN, options.precision), path, recipe, _facts(bundle, built, options, trt))


def _graph(bundle: Bundle, options: BuildOptions, progress: Progress) -> Artifact:
    if options.precision is not Precision.INT8:
        remedy = f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}"
        return bundle.find(f"onnx-{options.precision}", remedy)
    if options.calibrate is not None:
        calibrate_bundle(bundle, options.calibrate, progress)
    remedy = f"wrn-deploy calibrate {bundle.folder} --calib-data DATA"
    try:
        bundle.find("calibration", remedy)
        return bundle.find("onnx-int8-tensorrt", remedy)
    except DeployError as error:
        raise UsageError(
            f"{error}, or pass --calib-data DATA: int8 is calibrated on real images, never on random ones"
        ) from error


def _recipe(graph: Artifact, options: BuildOptions, trt: TensorRT) -> Recipe:
    gpu = find_gpu()
    told = {
        "profile": dataclasses.asdict(options.profile),
        "workspace_mib": options.workspace_mib,
        "gpu": None if gpu is None else dataclasses.asdict(gpu),
    }
    return Recipe({graph.key: graph.sha256}, told, {"wrn-deploy": __version__, trt.flavor.value: trt.version})


def _facts(bundle: Bundle, built: BuiltPlan, options: BuildOptions, trt: TensorRT) -> dict[str, Any]:
    """Everything about the plan that cannot be read back from it without a GPU."""
    gpu = find_gpu()
    return {
        "flavor": trt.flavor.value,
        "version": trt.version,
        "strongly_typed": True,
        "compute_capability": gpu.compute_capability if gpu else None,
        "gpu": gpu.name if gpu else None,
        "driver": gpu.driver if gpu else None,
        "profile": dataclasses.asdict(options.profile),
        "inputs": [dataclasses.asdict(bundle.spec.input)],
        "outputs": [dataclasses.asdict(bundle.spec.output)],
        "seconds": built.seconds,
        "memory": built.memory,
        "warnings": list(built.warnings),
    }
