"""The export step: weights into a bundle, the fp32 and fp16 graphs made from them (and bf16), parity checked."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.files.trust import Trust
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.models import Overrides, describe_model
from wrn_deploy.pipeline.networks.checks import check_export
from wrn_deploy.pipeline.networks.network import LoadedWeights, NetworkOptions, load_weights, network_of
from wrn_deploy.pipeline.networks.parity import core_parity, interface_parity, probe_images
from wrn_deploy.pipeline.networks.replacing import check_replaced, warn_of_stale
from wrn_deploy.pipeline.quantization.base_graph import write_wrapped
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Interface, ModelSpec, Precision
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ExportOptions", "export_bundle", "is_exported", "probe_images"]

PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")
EMULATED = "the graph in fp32, each result rounded to bf16: ONNX Runtime has no Conv in bf16 for CPUs"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export, and to where; `weights` or `random_weights` must be given.

    Args:
        out: folder of the bundle.
        model: name of the network, as in "wrn-16-2"; None: the one that the weights name.
        weights: a file, or the name of published weights.
        random_weights: make untrained weights, for speed tests.
        seed: seed of the random weights.
        overrides: changes to the network's description.
        weights_key: the state dict to read, if the file has several.
        replace: replace the bundle of another network, or trained weights by random ones.
        bf16: write a bf16 graph too; experimental.
        pixels: graphs take pixels; as the next three, see `spec.Interface`.
        top_k: graphs give the best `top_k` classes.
        features: graphs give the pooled features too.
        feature_maps: graphs give the last tensor of each resolution too.
    """

    out: Path
    model: str | None = None
    weights: Path | str | None = None
    random_weights: bool = False
    seed: int = 0
    overrides: Overrides = field(default_factory=Overrides)
    bf16: bool = False
    pixels: bool = False
    top_k: int | None = None
    features: bool = False
    feature_maps: bool = False
    weights_key: str = ""
    replace: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed}: expected 0 to 2**63 - 1")


def export_bundle(options: ExportOptions, progress: Progress) -> Bundle:
    """Makes the bundle: weights.safetensors, fp32.onnx and fp16.onnx, and bf16.onnx if asked for.

    Raises:
        UsageError: neither weights nor `random_weights`, or both; more top classes than there are; the folder holds
            another network's bundle and `replace` is off.
        DeployError: bad weights, or a folder that holds something else.
        GateError: a graph does not compute what the network computes; nothing is written.
        MachineError: torch, onnx or onnxruntime is missing.

    Example:
        >>> options = ExportOptions(model="wrn-16-2", weights="wrn-16-2.safetensors", out=Path("bundle"))
        >>> bundle = export_bundle(options, Silent())
        >>> sorted(bundle.artifacts)
        ['onnx-fp16', 'onnx-fp32', 'weights']
    """
    if (options.weights is None) != options.random_weights:
        raise UsageError(
            f"export {options.model or ''}".rstrip() + ": expected --weights FILE, or --random-weights for speed "
            "tests (and not both); `wrn-deploy train` makes weights"
        )
    check_export(options.model, options.weights, options.out, bf16=options.bf16)
    _check_packages()
    spec, taken = _read(options, progress)
    if not options.replace:
        check_replaced(options.out, spec, random_weights=options.random_weights)
    bundle = Bundle.create(options.out, spec, options.random_weights)
    weights = _weights_recipe(spec, taken, options)
    if _up_to_date(bundle, weights, options):
        *others, last = _precisions(options)
        progress.note(f"{bundle.folder}: weights, {', '.join(others)} and {last} graphs are up to date")
        return Bundle.open(bundle.folder, trust=Trust())
    network = _random(spec, options.seed) if taken is None else network_of(taken)
    _write(bundle, network, weights, options, progress)
    warn_of_stale(bundle, progress)
    return bundle


def is_exported(options: ExportOptions, progress: Progress) -> bool:
    """Whether `export_bundle` would find everything up to date; writes nothing, and reads weights as it does.

    Raises:
        UsageError, DeployError, MachineError: as `export_bundle`.
    """
    spec, taken = _read(options, progress)
    if not options.replace:
        check_replaced(options.out, spec, random_weights=options.random_weights)
    bundle = Bundle.create(options.out, spec, options.random_weights)
    return _up_to_date(bundle, _weights_recipe(spec, taken, options), options)


def _weights_recipe(spec: ModelSpec, taken: LoadedWeights | None, options: ExportOptions) -> Recipe:
    origin = {"seed": options.seed} if taken is None else taken.origin
    return Recipe(options={"model": spec.core.to_json(), **origin}, tools={"wrn-deploy": __version__})


def _write(bundle: Bundle, network: nn.Module, recipe: Recipe, options: ExportOptions, progress: Progress) -> None:
    import onnx_ir as ir

    from wrn_deploy.export.check import check_structure
    from wrn_deploy.export.graph import export_graph
    from wrn_deploy.export.half import convert_bf16, convert_fp16
    from wrn_deploy.models.checkpoints.weights import write_weights

    spec = bundle.spec
    with bundle.transaction() as step:
        write_weights(network, spec.core, step.file("weights.safetensors"))
        weights = step.add(
            "weights", kind=Kind.WEIGHTS, precision=Precision.FP32, path="weights.safetensors", recipe=recipe
        )
        with progress.task(f"Exporting {spec.name} to ONNX"):
            fp32 = export_graph(network, spec)
        parent = weights
        graphs = {Precision.FP32: fp32, Precision.FP16: convert_fp16(fp32)}
        if options.bf16:
            graphs[Precision.BF16] = convert_bf16(fp32)
        for precision, model in graphs.items():
            check_structure(model, spec.core)
            file = f"{precision}.onnx"
            ir.save(model, step.file(file))
            facts: dict[str, Any] = {"parity": core_parity(network, step.file(file), spec, precision, progress)}
            if spec != spec.core:
                write_wrapped(model, step.file(file), spec)
                check_structure(ir.load(step.file(file)), spec)
                facts["interface"] = interface_parity(network, step.file(file), spec, precision, progress)
            if precision is Precision.BF16:
                facts["parity_of"] = EMULATED
            made = step.add(
                f"onnx-{precision}",
                kind=Kind.ONNX,
                precision=precision,
                path=file,
                recipe=_graph_recipe(parent, spec),
                facts=facts,
            )
            parent = made if precision is Precision.FP32 else parent


def _precisions(options: ExportOptions) -> tuple[Precision, ...]:
    """The precisions of the graphs to write; each after the first is made from fp32."""
    return (Precision.FP32, Precision.FP16, Precision.BF16)[: 3 if options.bf16 else 2]


def _read(options: ExportOptions, progress: Progress) -> tuple[ModelSpec, LoadedWeights | None]:
    """The description of what to export, with its interface, and the weights; None for random ones."""
    from wrn_deploy.models.cost import count_features, shape_feature_maps

    loaded = None
    if options.weights is None:
        if options.weights_key:
            raise UsageError(f"--weights-key {options.weights_key}: expected --weights FILE with it")
        if options.model is None:
            raise UsageError("random weights, and no network is named: expected its name too, such as wrn-16-2")
        spec = options.overrides.apply(describe_model(options.model))
    else:
        network = NetworkOptions(
            model=options.model, weights=options.weights, key=options.weights_key, overrides=options.overrides
        )
        loaded = load_weights(network, progress)
        spec = loaded.spec
    if options.top_k is not None and not 1 <= options.top_k <= spec.classes:
        raise UsageError(f"--top-k {options.top_k}: expected 1 to {spec.classes}, the number of classes")
    features = count_features(spec) if options.features else 0
    maps = shape_feature_maps(spec) if options.feature_maps else ()
    return dataclasses.replace(
        spec, interface=Interface(pixels=options.pixels, top_k=options.top_k, features=features, feature_maps=maps)
    ), loaded


def _random(spec: ModelSpec, seed: int) -> nn.Module:
    import torch

    from wrn_deploy.models.random_init import build_random

    return build_random(spec, torch.from_numpy(probe_images(spec, 8)), seed)


def _graph_recipe(parent: Artifact, spec: ModelSpec) -> Recipe:
    from wrn_deploy.export.graph import OPSET

    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    interface = {} if spec == spec.core else {"interface": dataclasses.asdict(spec.interface)}
    return Recipe(parents={parent.key: parent.sha256}, options={"opset": OPSET, **interface}, tools=tools)


def _up_to_date(bundle: Bundle, weights: Recipe, options: ExportOptions) -> bool:
    try:
        there, spec = Bundle.open(bundle.folder, trust=Trust()), bundle.spec
    except DeployError:
        return False
    parent = there.current("weights", weights)
    for precision in _precisions(options):
        made = there.current(f"onnx-{precision}", _graph_recipe(parent, spec)) if parent is not None else None
        parent = made if made is None or precision is Precision.FP32 else parent
    return parent is not None


def _check_packages() -> None:
    for package in ("torch", "safetensors", "onnx", "onnxscript", "onnx_ir", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, "cpu" if package == "onnxruntime" else "export", "exporting a model")
