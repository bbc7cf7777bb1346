"""Describes a bundle, an ONNX graph or a plan; changes nothing, and opens a plan only if a GPU can run it."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import MANIFEST, Artifact, Kind
from wrn_deploy.pipeline.engines.plans import bundle_of, is_plan, plan_flavor
from wrn_deploy.pipeline.engines.proof import NO_PROOF
from wrn_deploy.pipeline.inspection.views import BundleView, EntryView, GraphView, PlanView
from wrn_deploy.pipeline.read_graph import read_graph
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.engines.layers import EngineLayer

__all__ = ["inspect_path"]

EXPECTED = "expected a bundle's folder, an ONNX graph or a plan"
DIGESTS = ("digest", "sha256")  # endings of options that are not shown


def inspect_path(path: Path, progress: Progress) -> BundleView | GraphView | PlanView:
    """Describes what is at `path`.

    Raises:
        DeployError: nothing, or something that is damaged or of another kind.
        MachineError: reading a graph needs packages that are not installed.
    """
    if not path.exists():
        raise DeployError(f"{str(path)!r} does not exist: {EXPECTED}")
    if path.is_dir() or path.name == MANIFEST:
        with progress.task("Checking digests"):
            return _bundle(Bundle.open(path if path.is_dir() else path.parent))
    return _plan(path, progress) if is_plan(path) else _graph(path)


def _bundle(bundle: Bundle) -> BundleView:
    order = list(Kind)
    problems = {key: _problem(bundle, artifact) for key, artifact in bundle.artifacts.items()}
    entries = [
        EntryView(
            key=artifact.key,
            kind=artifact.kind.value,
            precision=artifact.precision.value,
            path=artifact.path,
            size_bytes=artifact.size_bytes,
            parents=tuple(artifact.recipe.parents),
            options={
                key: value
                for key, value in artifact.recipe.options.items()
                if not key.endswith(DIGESTS) and value is not None
            },
            state="ok" if (problem := problems[artifact.key]) is None else problem.code,
            problem=None if problem is None else str(problem),
        )
        for artifact in sorted(bundle.artifacts.values(), key=lambda each: (order.index(each.kind), each.key))
    ]
    return BundleView(str(bundle.folder), bundle.spec.name, bundle.random_weights, tuple(entries))


def _problem(bundle: Bundle, artifact: Artifact) -> DeployError | None:
    """Why an artifact cannot be used; None: it can."""
    if artifact.kind is Kind.PLAN:
        remedy = f"wrn-deploy build-engine {bundle.folder} --{artifact.precision} --rebuild"
    elif artifact.kind is Kind.CALIBRATION or artifact.precision in (Precision.INT8, Precision.FP8):
        remedy = bundle.command_for("calibration")
    else:
        remedy = bundle.command_for("weights")
    try:
        bundle.find(artifact.key, remedy)
    except DeployError as error:
        return error
    return None


def _graph(file: Path) -> GraphView:
    model = read_graph(file, "inspecting a graph", EXPECTED)
    from wrn_deploy.engines.promise import expected_precisions, shares_of

    try:
        expected = expected_precisions(model)
        macs = [node.macs for node in expected if node.macs]
        known = len(macs) == len(expected)
        return GraphView(
            file=str(file),
            size_bytes=file.stat().st_size,
            producer=f"{model.producer_name or ''} {model.producer_version or ''}".strip(),
            opset=model.opset_imports.get("") or model.graph.opset_imports.get("") or 0,
            inputs=tuple(_tensor(value) for value in model.graph.inputs if value.name not in model.graph.initializers),
            outputs=tuple(_tensor(value) for value in model.graph.outputs),
            nodes=dict(Counter(node.op_type for node in model.graph.all_nodes()).most_common()),
            parameters=_parameters(model),
            macs=sum(macs) if known else None,
            fractions=shares_of((node.arithmetic, node.macs) for node in expected),
        )
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DamagedFile(f"{file} is damaged ({error!r}): {EXPECTED}") from error


def _tensor(value: ir.Value) -> tuple[str, str, str]:
    shape = "of unknown shape" if value.shape is None else " x ".join(str(size) for size in value.shape)
    return value.name or "", "of unknown type" if value.dtype is None else value.dtype.name.lower(), shape


def _parameters(model: ir.Model) -> int:
    from wrn_deploy.graph import size_of

    made = (node.outputs[0] for node in model.graph if node.op_type == "Constant")
    return sum(size_of(value) or 0 for value in (*model.graph.initializers.values(), *made) if _is_parameter(value))


def _is_parameter(value: ir.Value) -> bool:
    """Whether a constant is more than a scale, a zero point or a shape, through nodes that hand it on."""
    from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, REARRANGING

    waiting, others = [value], False
    while waiting:
        for use in waiting.pop().uses():
            if use.node.op_type in REARRANGING:
                waiting += use.node.outputs[:1] if use.idx == 0 else []
            elif use.node.op_type not in (QUANTIZE, DEQUANTIZE) or use.idx == 0:
                return True
            others = True
    return not others  # nothing reads it


def _plan(file: Path, progress: Progress) -> PlanView:
    bundle, artifact = bundle_of(file) or (None, None)
    facts = dict(artifact.facts) if artifact is not None else {}
    proof = facts.pop("precision", None)
    unusable = _problem(bundle, artifact) if bundle is not None and artifact is not None else _broken(file)
    problem = None if unusable is None else str(unusable)
    layers: tuple[EngineLayer, ...] = ()
    missing: str | None = None
    if not facts:
        missing = (
            "the plan is not in a bundle: its inputs, outputs and profiles cannot be read without the TensorRT and the "
            "GPU it was built for; inspect it in its bundle, beside manifest.json"
        )
    elif problem is None:
        layers, missing = _layers(file, facts, progress)
    return PlanView(
        file=str(file),
        size_bytes=file.stat().st_size,
        flavor=plan_flavor(file),
        bundle=None if bundle is None else str(bundle.folder),
        key=None if artifact is None else artifact.key,
        facts=facts,
        proof=proof if isinstance(proof, Mapping) else NO_PROOF,
        problem=problem,
        layers=layers,
        missing=missing,
    )


def _broken(file: Path) -> DeployError | None:
    """What is wrong with a plan outside a bundle, as far as its bytes show."""
    from wrn_deploy.backends.plan.engine import check_rtx_plan

    flavor = plan_flavor(file)
    if flavor is None:
        return DamagedFile("the file does not start like a plan: it is damaged or not a plan; rebuild it")
    try:
        if flavor == "tensorrt_rtx":
            check_rtx_plan(file.read_bytes())
    except DeployError as error:
        return error
    return None


def _layers(file: Path, facts: Mapping[str, Any], progress: Progress) -> tuple[tuple[EngineLayer, ...], str | None]:
    """The engine's layers as the inspector reports them for the first profile, or why it cannot."""
    flavor = str(facts.get("flavor"))
    gpu = find_gpu()
    if gpu is None:
        return (), "reading the layers needs a GPU, and this machine has none"
    if flavor not in ("tensorrt", "tensorrt_rtx") or importlib.util.find_spec(flavor) is None:
        return (), f"reading the layers needs {flavor}, which is not installed"
    from wrn_deploy.backends.plan.validity import plan_mismatch
    from wrn_deploy.engines.flavor import Flavor, find_flavor
    from wrn_deploy.engines.inspector import describe_engine
    from wrn_deploy.engines.layers import parse_json

    trt = find_flavor(Flavor(flavor))
    mismatch = plan_mismatch(facts, trt.version, gpu)
    if mismatch is not None:
        return (), mismatch
    try:
        with progress.task("Opening the plan"):
            layers = parse_json(describe_engine(trt.module, file.read_bytes())[0])
    except DeployError as error:
        return (), str(error)
    return tuple(layers), None
