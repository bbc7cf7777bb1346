"""The export step: weights into a bundle, the fp32 and fp16 graphs made from them (and bf16), parity checked."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wrn_deploy import __version__
from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, sha256_of
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.machine import package_versions
from wrn_deploy.models import Overrides, describe_model
from wrn_deploy.progress import Progress
from wrn_deploy.sessions import infer_with, open_session
from wrn_deploy.spec import ModelSpec, Precision

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.models.weights import Checkpoint

__all__ = ["ExportOptions", "export_bundle", "probe_images"]

PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu")
EMULATED = "the graph in fp32, each result rounded to bf16: ONNX Runtime has no Conv in bf16 for CPUs"
SMALL = 64  # pixels; networks with a smaller input are checked at a larger batch


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export; `weights` or `random_weights` must be given.

    `bf16` asks for a graph in bf16 besides, which is experimental.
    """

    model: str
    out: Path
    weights: Path | None = None
    random_weights: bool = False
    seed: int = 0
    overrides: Overrides = field(default_factory=Overrides)
    bf16: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed}: expected 0 to 2**63 - 1")


def export_bundle(options: ExportOptions, progress: Progress) -> Bundle:
    """Makes the bundle: weights.safetensors, fp32.onnx and fp16.onnx, and bf16.onnx where asked for.

    Raises:
        UsageError: neither weights nor `random_weights`, or both.
        DeployError: bad weights, or a folder that holds something else.
        GateError: a graph does not compute what the network computes; nothing is written.
        MachineError: torch, onnx or onnxruntime is missing.
    """
    if (options.weights is None) != options.random_weights:
        raise UsageError(
            f"export {options.model}: expected --weights FILE, or --random-weights for speed work (and not both); "
            "`wrn-deploy train` makes weights"
        )
    _check_packages()
    spec, checkpoint = _read(options)
    bundle = Bundle.create(options.out, spec, options.random_weights)
    weights = Recipe(options=_weights_options(options, spec), tools={"wrn-deploy": __version__})
    if _up_to_date(bundle, weights, options):
        progress.note(f"{bundle.folder}: weights, {_told(options)} graphs are up to date")
        return Bundle.open(bundle.folder)
    network = _network(spec, checkpoint, options)
    _write(bundle, network, (weights, options), progress)
    return bundle


def probe_images(spec: ModelSpec, count: int) -> npt.NDArray[np.float32]:
    """Real images for checks, (count, 3, H, W), normalised: the embedded digits at the network's size."""
    how = dataclasses.replace(spec.preprocessing, resize=spec.preprocessing.resize or spec.preprocessing.height)
    batch = next(iter(Batches(open_data("digits", Role.TEST), how, count)))
    return normalize(batch.images, how)


def _write(bundle: Bundle, network: nn.Module, how: tuple[Recipe, ExportOptions], progress: Progress) -> None:
    import onnx_ir as ir

    from wrn_deploy.export.bf16 import convert_bf16
    from wrn_deploy.export.check import check_structure
    from wrn_deploy.export.fp16 import convert_fp16
    from wrn_deploy.export.graph import export_graph
    from wrn_deploy.models.weights import write_weights

    spec, (recipe, options) = bundle.spec, how
    with bundle.transaction() as step:
        write_weights(network, spec, step.file("weights.safetensors"))
        weights = step.add("weights", (Kind.WEIGHTS, Precision.FP32), "weights.safetensors", recipe, {})
        with progress.task(f"Exporting {spec.name} to ONNX"):
            fp32 = export_graph(network, spec)
        parent = weights
        graphs = [(Precision.FP32, fp32), (Precision.FP16, convert_fp16(fp32))]
        if options.bf16:
            graphs.append((Precision.BF16, convert_bf16(fp32)))
        for precision, model in graphs:
            check_structure(model, spec)
            file = f"{precision}.onnx"
            ir.save(model, step.file(file))
            facts: dict[str, Any] = {"parity": _parity(network, step.file(file), spec, precision, progress)}
            if precision is Precision.BF16:
                facts["parity_of"] = EMULATED
            made = step.add(f"onnx-{precision}", (Kind.ONNX, precision), file, _graph_recipe(parent), facts)
            parent = made if precision is Precision.FP32 else parent


def _parity(
    network: nn.Module, file: Path, spec: ModelSpec, precision: Precision, progress: Progress
) -> list[dict[str, Any]]:
    import torch

    from wrn_deploy.export.check import check_parity

    sizes = (1, 3, 64) if spec.preprocessing.height < SMALL else (1, 3, 16)
    images = probe_images(spec, max(sizes))
    graph = infer_with(open_session(_emulated(file) if precision is Precision.BF16 else file))

    def reference(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = network.eval()(torch.from_numpy(batch)).numpy()
        return logits

    with progress.task(f"Checking the {precision} graph against PyTorch at batches {', '.join(map(str, sizes))}"):
        found = check_parity(reference, graph, [images[-size:] for size in sizes], precision)
    worst = max(found, key=lambda parity: parity.max_abs / parity.largest_logit)
    progress.note(
        f"{precision}: largest error {worst.max_abs:.2g} on logits up to {worst.largest_logit:.3g}, cosine at least "
        f"{min(parity.cosine for parity in found):.6f}, same argmax on {sum(parity.argmax_equal for parity in found)} "
        f"of {sum(sizes)}"
    )
    return [dataclasses.asdict(parity) for parity in found]


def _emulated(file: Path) -> bytes:
    """The bf16 graph as one that ONNX Runtime's CPU provider can run, serialized."""
    import onnx_ir as ir

    from wrn_deploy.export.bf16 import emulate_bf16

    graph: bytes = ir.to_proto(emulate_bf16(ir.load(file))).SerializeToString()
    return graph


def _precisions(options: ExportOptions) -> tuple[Precision, ...]:
    """Those of the graphs that are asked for; each after the first is made from fp32."""
    return (Precision.FP32, Precision.FP16, *((Precision.BF16,) if options.bf16 else ()))


def _told(options: ExportOptions) -> str:
    *others, last = _precisions(options)
    return f"{', '.join(others)} and {last}"


def _read(options: ExportOptions) -> tuple[ModelSpec, Checkpoint | None]:
    from wrn_deploy.models.weights import read_weights

    spec = describe_model(options.model)
    if options.weights is None:
        return options.overrides.apply(spec), None
    checkpoint = read_weights(options.weights)
    if checkpoint.spec is not None:
        if checkpoint.spec.name != spec.name:
            raise DeployError(
                f"{options.weights} holds {checkpoint.spec.name}: expected {spec.name}; export it by its own name"
            )
        spec = checkpoint.spec
    return options.overrides.apply(spec), checkpoint


def _network(spec: ModelSpec, checkpoint: Checkpoint | None, options: ExportOptions) -> nn.Module:
    import torch

    from wrn_deploy.models import build_model
    from wrn_deploy.models.conditioning import build_random
    from wrn_deploy.models.weights import fit_weights

    if checkpoint is None:
        return build_random(spec, torch.from_numpy(probe_images(spec, 8)), options.seed)
    network = build_model(spec)
    fit_weights(network, checkpoint, spec)
    return network.eval()


def _weights_options(options: ExportOptions, spec: ModelSpec) -> dict[str, Any]:
    source = {"seed": options.seed} if options.weights is None else {"file_sha256": sha256_of(options.weights)}
    return {"model": spec.to_json(), **source}


def _graph_recipe(parent: Artifact) -> Recipe:
    from wrn_deploy.export.graph import OPSET

    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    return Recipe({parent.key: parent.sha256}, {"opset": OPSET}, tools)


def _up_to_date(bundle: Bundle, weights: Recipe, options: ExportOptions) -> bool:
    try:
        there = Bundle.open(bundle.folder)
    except DeployError:
        return False
    parent = there.current("weights", weights)
    for precision in _precisions(options):
        made = there.current(f"onnx-{precision}", _graph_recipe(parent)) if parent is not None else None
        parent = made if made is None or precision is Precision.FP32 else parent
    return parent is not None


def _check_packages() -> None:
    for package, extra in (
        ("torch", "export"),
        ("safetensors", "export"),
        ("onnx", "export"),
        ("onnxscript", "export"),
        ("onnx_ir", "export"),
        ("onnxruntime", "cpu"),
    ):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, extra, "exporting a model")
