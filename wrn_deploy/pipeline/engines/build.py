"""The build step: a plan from the bundle's graph of one precision, calibrated first if asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wrn_deploy.backends.plan.validity import plan_warnings
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.engines.pixels import check_pixels, plan_graph
from wrn_deploy.pipeline.engines.proof import prove_plan
from wrn_deploy.pipeline.networks.checks import check_bundle_room
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.state import GRAPH, find_calibrated
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision, TensorSpec
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from wrn_deploy.engines.build import BuiltPlan
    from wrn_deploy.engines.flavor import Flavor, TensorRT
    from wrn_deploy.engines.options import EngineOptions

__all__ = ["PLAN_SHARE", "BuildOptions", "build_engine", "is_built"]

# About a plan's part of the fp32 graph's size: the weights, and kernels that the room's slack stands for.
PLAN_SHARE = {
    Precision.FP32: 1.0, Precision.FP16: 0.5, Precision.BF16: 0.5, Precision.INT8: 0.25, Precision.FP8: 0.25,
}  # fmt: skip
# The options among a plan's facts.
KEPT = (
    "profiles", "version_compatible", "exclude_lean_runtime", "hardware", "compute_capabilities", "refit", "strip",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """The plan to build.

    Attributes:
        precision: that of the graph to build from.
        engine: the options of the plan.
        flavor: which TensorRT (None: the first that is installed).
        pixels: whether the plan takes pixels (uint8, NHWC) and normalises inside, whatever the bundle's graphs take.
        calibrate: int8 only: how to calibrate first (None: use the bundle's table).
        rebuild: build even if the plan is up to date.
    """

    precision: Precision
    engine: EngineOptions
    flavor: Flavor | None = None
    pixels: bool = True
    calibrate: CalibrateOptions | None = None
    rebuild: bool = False


def build_engine(bundle: Bundle, options: BuildOptions, progress: Progress) -> Artifact:
    """Adds a plan, `<precision>-<flavour>.plan`, and returns its artifact.

    Example:
        >>> from pathlib import Path
        >>> from wrn_deploy.bundle import Bundle
        >>> from wrn_deploy.progress import Silent
        >>> from wrn_deploy.engines.options import EngineOptions, Profile
        >>> from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
        >>> from wrn_deploy.spec import Precision, TensorSpec
        >>> bundle = Bundle.open(Path("bundle"))  # as `calibrate_bundle` leaves it
        >>> options = BuildOptions(precision=Precision.INT8, engine=EngineOptions(profiles=(Profile(1, 8, 32),)))
        >>> plan = build_engine(bundle, options, Silent())
        >>> plan.path.startswith("int8-tensorrt")
        True

    Raises:
        UsageError: int8 without a calibration table and without calibration data; an option that this TensorRT lacks;
            no pixels, for a bundle whose graphs take them.
        MachineError: no TensorRT is installed, or this machine cannot build the plan.
        DeployError: the bundle lacks the graph, or TensorRT cannot build it.
        GateError: the engine computes a layer in more bits than the graph asks for.
    """
    from wrn_deploy.engines.build import build_plan

    trt = _check(bundle, options)
    if options.calibrate is not None:
        calibrate_bundle(bundle, options.calibrate, progress)
    graph = _find_graph(bundle, options.precision)
    recipe = _recipe(graph, options, trt)
    key = f"plan-{options.precision}-{trt.flavor}"
    current = None if options.rebuild else bundle.current(key, recipe)
    if current is not None:
        progress.note(f"{bundle.folder}: {current.path} is up to date")
        return current
    _warn_of_gpu(options, trt, progress)
    file = bundle.file(graph)
    with plan_graph(file, bundle.spec, pixels=options.pixels) as taken:
        built = build_plan(trt, taken.file, taken.source, options.engine, progress)
    facts = _facts(bundle, built, options, trt, taken.source)
    facts["precision"] = prove_plan(trt, built, file, progress)
    path = f"{options.precision}-{trt.flavor}.plan"
    with bundle.transaction() as step:
        step.file(path).write_bytes(built.plan)
        return step.add(key, kind=Kind.PLAN, precision=options.precision, path=path, recipe=recipe, facts=facts)


def is_built(bundle: Bundle, options: BuildOptions) -> bool:
    """Whether `build_engine` would find the plan up to date, if it calibrates nothing; writes nothing.

    Raises:
        UsageError, MachineError, DeployError: as `build_engine` before it builds.
    """
    trt = _check(bundle, options)
    graph = _find_graph(bundle, options.precision)
    key = f"plan-{options.precision}-{trt.flavor}"
    return not options.rebuild and bundle.current(key, _recipe(graph, options, trt)) is not None


def _check(bundle: Bundle, options: BuildOptions) -> TensorRT:
    """The TensorRT that builds, after what can be refused before it does."""
    from wrn_deploy.engines.flavor import find_flavor
    from wrn_deploy.engines.options import check_flavor

    trt = find_flavor(options.flavor)
    check_flavor(options.engine, trt.flavor)
    check_pixels(bundle.spec, pixels=options.pixels)
    check_bundle_room(bundle, PLAN_SHARE[options.precision], "the plan")
    return trt


def _warn_of_gpu(options: BuildOptions, trt: TensorRT, progress: Progress) -> None:
    """Warns if this GPU is none that NVIDIA documents for TensorRT-RTX's plans, as those of compute capability 9.0."""
    gpu, described = find_gpu(), {**options.engine.describe(), "flavor": trt.flavor.value}
    for warning in plan_warnings(described, gpu) if gpu else ():
        hint = how_to_install("gpu", "tensorrt")
        progress.warn(f"{warning}; full TensorRT is for such a GPU: {hint}, then --flavor tensorrt")


def _find_graph(bundle: Bundle, precision: Precision) -> Artifact:
    match precision:
        case Precision.INT8:
            return find_calibrated(bundle, GRAPH)
        case Precision.FP8:
            return bundle.find("onnx-fp8-tensorrt")
        case _:
            return bundle.find(f"onnx-{precision}")


def _recipe(graph: Artifact, options: BuildOptions, trt: TensorRT) -> Recipe:
    gpu = find_gpu()
    described = {
        **options.engine.describe(),
        "pixels": options.pixels,
        "gpu": None if gpu is None else dataclasses.asdict(gpu),
    }
    return Recipe(
        parents={graph.key: graph.sha256},
        options=described,
        tools={"wrn-deploy": __version__, trt.flavor.value: trt.version},
    )


def _facts(
    bundle: Bundle, built: BuiltPlan, options: BuildOptions, trt: TensorRT, source: TensorSpec
) -> dict[str, Any]:
    """What cannot be read from the plan itself without a GPU."""
    gpu, engine = find_gpu(), options.engine.describe()
    return {
        "flavor": trt.flavor.value,
        "version": trt.version,
        "strongly_typed": True,
        "compute_capability": gpu.compute_capability if gpu else None,
        "gpu": gpu.name if gpu else None,
        "driver": gpu.driver if gpu else None,
        **{name: engine[name] for name in KEPT},
        "inputs": [dataclasses.asdict(source)],
        "outputs": [dataclasses.asdict(output) for output in bundle.spec.outputs],
        "seconds": built.seconds,
        "timing_cache": built.started_from,
        "memory": built.memory,
        "warnings": list(built.warnings),
    }
