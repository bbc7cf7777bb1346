"""Opens a caller's own network for inference as it stands: on its device, its weights shared, its mode kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from wrn_deploy.backends.pytorch.backend import TorchBackend
from wrn_deploy.backends.pytorch.device import CpuDevice
from wrn_deploy.spec import ModelSpec

__all__ = ["open_module"]


@contextlib.contextmanager
def open_module(parts: tuple[nn.Module, ...], spec: ModelSpec) -> Iterator[TorchBackend]:
    """A network as a backend for the block; it is in eval mode meanwhile, and its weights are never copied.

    Inputs and outputs are on the CPU wherever the network is, and float32 whatever its weights are. In fp32 the GPU
    computes in fp32, not in TF32, as in every graph of a bundle.

    Args:
        parts: the network; or what comes before its classifier, and the classifier.
        spec: its outputs are those of the parts, the last part's first, and feature maps of the first part.
    """
    parameter, shapes = next(parts[0].parameters()), [one.shape for one in spec.feature_maps]
    dtype = parameter.dtype if spec.whitening is None else torch.float32  # whitening rounds behind its own float32

    def run(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, results = images.to(device=parameter.device, dtype=dtype), list[torch.Tensor]()
        maps: list[torch.Tensor] = []
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for part in parts:
                values = part(values, maps=maps) if part is parts[0] and shapes else part(values)
                results.append(values)
        wanted = (one for one in maps if tuple(one.shape[1:]) in shapes)
        return tuple(result.float().cpu() for result in (*reversed(results), *wanted))

    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.enter_context(_evaluating(part))
        yield stack.enter_context(TorchBackend(run, spec, CpuDevice))


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode: else BN would learn from the images, and dropout would drop."""
    training = [part for part in network.modules() if part.training]
    network.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
