"""Times each layer of two plans on this GPU with TensorRT's profiler, in interleaved rounds."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import Gpu, find_gpu
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.engines.plans import bundle_of
from wrn_deploy.pipeline.inspection.node_times import (
    BETWEEN,
    WARM_UP,
    NodeTime,
    RunTimes,
    TimedPair,
    TimingOptions,
    run_interleaved,
)
from wrn_deploy.progress import Progress

if TYPE_CHECKING:
    from wrn_deploy.engines.inspector import LayerTimer
    from wrn_deploy.engines.layers import EngineLayer
    from wrn_deploy.engines.promise import ExpectedPrecision

__all__ = ["time_plans"]


def time_plans(files: tuple[Path, Path], timing: TimingOptions, progress: Progress) -> TimedPair:
    """Runs both plans in interleaved rounds on random bytes; their graphs, in their bundles, name the layers.

    Raises:
        DeployError: a plan is in no bundle, or is not the file that its manifest describes.
        MachineError: there is no GPU, or not that TensorRT.
    """
    from wrn_deploy.engines.inspector import LayerTimer
    from wrn_deploy.pipeline.quantization.lint import lint_file

    found = [_plan(file) for file in files]
    gpu = find_gpu()
    if gpu is None:
        raise MachineError("timing the layers of plans needs a CUDA GPU: compare their ONNX graphs on this CPU instead")
    with contextlib.ExitStack() as stack:
        timers = [
            stack.enter_context(LayerTimer(_module(plan, gpu), bundle.file(plan).read_bytes(), timing.batch))
            for bundle, plan in found
        ]
        runs: list[list[Run]] = [[], []]
        repeats = [partial(_repeat, timer, own) for timer, own in zip(timers, runs, strict=True)]
        run_interleaved(repeats, timing, progress)
        described = [timer.description for timer in timers]
    graphs = [_graph(bundle, plan) for bundle, plan in found]
    first, first_rows = _side(graphs[0], described[0], runs[0][WARM_UP:])
    second, second_rows = _side(graphs[1], described[1], runs[1][WARM_UP:])
    return TimedPair(
        runtime=gpu.name,
        measured=(first, second),
        rows_of=(first_rows, second_rows),
        findings=lint_file(graphs[1], Target.TENSORRT).findings,
    )


def _plan(file: Path) -> tuple[Bundle, Artifact]:
    found = bundle_of(file)
    if found is None:
        raise DeployError(f"{file} is not a plan of a bundle: expected one next to the manifest.json that describes it")
    bundle, plan = found
    return bundle, bundle.find(plan.key, f"wrn-deploy build-engine {bundle.folder} --{plan.precision} --rebuild")


def _module(plan: Artifact, gpu: Gpu) -> Any:
    """The TensorRT that the plan was built with; raises MachineError if this machine cannot run it."""
    from wrn_deploy.backends.plan.validity import plan_mismatch
    from wrn_deploy.engines.flavor import Flavor, find_flavor

    trt = find_flavor(Flavor(str(plan.facts.get("flavor"))))
    mismatch = plan_mismatch(plan.facts, trt.version, gpu)
    if mismatch is not None:
        raise MachineError(f"{plan.path}: {mismatch}")
    return trt.module


def _graph(bundle: Bundle, plan: Artifact) -> Path:
    """The graph that the plan was built from."""
    parent = next(iter(plan.recipe.parents), "")
    return bundle.file(bundle.find(parent))


Run = tuple[float, dict[str, float]]  # milliseconds of the whole, and of each layer


def _repeat(timer: LayerTimer, runs: list[Run], times: int) -> None:
    runs.extend(timer.run() for _ in range(times))


def _side(graph: Path, described: str, runs: Sequence[Run]) -> tuple[RunTimes, dict[str, str]]:
    from wrn_deploy.engines.layers import parse_json
    from wrn_deploy.engines.promise import expected_precisions
    from wrn_deploy.pipeline.read_graph import read_graph

    expected = expected_precisions(read_graph(graph))
    return place_layers(expected, parse_json(described), runs)


def place_layers(
    expected: Sequence[ExpectedPrecision], layers: Sequence[EngineLayer], runs: Sequence[Run]
) -> tuple[RunTimes, dict[str, str]]:
    """Returns the times of an engine's layers, and the row of each: the graph's layer that it computes, or its kind."""
    from wrn_deploy.engines.proof import computed_in, kernels_of

    by_name = {layer.name: layer for layer in layers}
    rows_of: dict[str, str] = {}
    arithmetic: dict[str, str] = {}
    for node in expected:
        for kernel in kernels_of(node, layers):
            rows_of.setdefault(kernel.name, node.name)
            arithmetic.setdefault(kernel.name, computed_in(node, layers).value)
    parts = []
    for name in dict.fromkeys(name for _, times in runs for name in times):
        kind = by_name[name].kind if name in by_name else "layers that the inspector does not name"
        rows_of.setdefault(name, BETWEEN + kind)
        parts.append(NodeTime(name, kind, arithmetic.get(name, ""), tuple(times.get(name, 0.0) for _, times in runs)))
    feeding = {name: node.name for node in expected for name in node.around}
    return RunTimes(tuple(total for total, _ in runs), tuple(parts)), {**feeding, **rows_of}
