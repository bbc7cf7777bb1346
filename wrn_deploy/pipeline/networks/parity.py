"""Checks graphs against the network in PyTorch, or the file that they are of, at several batches, on real images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, as_input, normalize
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import infer_all, infer_with, open_session
from wrn_deploy.spec import ModelSpec, Precision

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.export.check import Computed

__all__ = ["core_parity", "graph_parity", "interface_parity", "probe_images"]

Infer = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

SMALL = 64  # pixels; networks with a smaller input are checked at larger batches


def probe_images(spec: ModelSpec, count: int) -> npt.NDArray[np.float32]:
    """Real images for checks, (count, 3, H, W), normalised: the embedded digits at the network's size."""
    return normalize(_pixels(spec, count), spec.preprocessing)


def core_parity(
    network: nn.Module, file: Path, spec: ModelSpec, precision: Precision, progress: Progress
) -> list[dict[str, Any]]:
    """Checks a graph without an interface; returns the figures of each batch.

    Raises:
        GateError: it does not compute what the network computes.
    """
    return graph_parity(lambda batch: _computed(network, batch).logits, file, spec, precision, progress)


def graph_parity(
    reference: Infer,
    file: Path,
    spec: ModelSpec,
    precision: Precision,
    progress: Progress,
    *,
    of: str = "PyTorch",
    answer: Infer = lambda logits: logits,
) -> list[dict[str, Any]]:
    """Checks a graph without an interface against `reference`, called `of`; as `core_parity`.

    Args:
        reference: normalised images -> its answers, (N, classes).
        file: the graph.
        spec: the network.
        precision: of the graph.
        progress: shows the figures.
        of: the reference's name.
        answer: makes an answer like the reference's of the graph's logits.
    """
    from wrn_deploy.export.check import check_parity

    sizes = _sizes(spec)
    images = probe_images(spec, max(sizes))
    graph = infer_with(open_session(_runnable(file, precision)))
    batches = [images[-size:] for size in sizes]
    with progress.task(f"Checking the {precision} graph against {of} at batches {', '.join(map(str, sizes))}"):
        found = check_parity(reference, lambda batch: answer(graph(batch)), batches, precision, of=of)
    worst = max(found, key=lambda parity: parity.max_abs / parity.largest_logit)
    progress.note(
        f"{precision}: largest error {worst.max_abs:.2g} on logits up to {worst.largest_logit:.3g}, cosine at least "
        f"{min(parity.cosine for parity in found):.6f}, same argmax on {sum(parity.argmax_equal for parity in found)} "
        f"of {sum(sizes)}"
    )
    return [dataclasses.asdict(parity) for parity in found]


def interface_parity(
    network: nn.Module, file: Path, spec: ModelSpec, precision: Precision, progress: Progress
) -> list[dict[str, Any]]:
    """Checks a graph with its interface around it, from pixels or images to every output; as `core_parity`."""
    from wrn_deploy.export.check import check_outputs

    sizes = _sizes(spec)
    pixels = _pixels(spec, max(sizes))
    graph = infer_all(open_session(_runnable(file, precision)))
    names = ", ".join(output.name for output in spec.outputs)
    with progress.task(f"Checking {names} of the {precision} graph against PyTorch"):
        batches = [
            (
                as_input(pixels[-size:], spec.preprocessing, spec.input),
                _computed(network, normalize(pixels[-size:], spec.preprocessing)),
            )
            for size in sizes
        ]
        found = check_outputs(graph, batches, precision)
    worst = max(found, key=lambda parity: parity.max_abs / max(parity.largest, 1e-6))
    progress.note(
        f"{precision}, {spec.input.dtype} {spec.input.name} to {names}: largest error {worst.max_abs:.2g} on "
        f"{worst.output} up to {worst.largest:.3g}"
    )
    return [dataclasses.asdict(parity) for parity in found]


def _sizes(spec: ModelSpec) -> tuple[int, ...]:
    return (1, 3, 64) if spec.preprocessing.height < SMALL else (1, 3, 16)


def _pixels(spec: ModelSpec, count: int) -> npt.NDArray[np.uint8]:
    """The embedded digits at the network's size, (count, H, W, 3)."""
    resize = spec.preprocessing.resize or spec.preprocessing.height
    preprocessing = dataclasses.replace(spec.preprocessing, resize=resize)
    return next(iter(Batches(open_data("digits", Role.TEST), preprocessing, count))).images


def _computed(network: nn.Module, images: npt.NDArray[np.float32]) -> Computed:
    import torch

    from wrn_deploy.export.check import Computed
    from wrn_deploy.models import classifier_of

    features: list[npt.NDArray[np.float32]] = []
    maps: list[torch.Tensor] = []
    hook = classifier_of(network).register_forward_pre_hook(lambda _module, read: features.append(read[0].numpy()))
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.from_numpy(images), maps=maps)
    finally:
        hook.remove()
    return Computed(logits.numpy(), features[-1], tuple(found.numpy() for found in maps))


def _runnable(file: Path, precision: Precision) -> Path | bytes:
    """The graph; for bf16 an emulation, serialized, since ONNX Runtime has no bf16 Conv for CPUs."""
    if precision is not Precision.BF16:
        return file
    import onnx_ir as ir

    from wrn_deploy.export.half import emulate_bf16

    graph: bytes = ir.to_proto(emulate_bf16(ir.load(file))).SerializeToString()
    return graph
