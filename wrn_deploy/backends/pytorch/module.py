"""Opens a caller's own network as a backend: on its device, with its weights shared and its mode restored."""

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
    """A network as a backend for the block, in eval mode meanwhile; its weights are not copied.

    Inputs and outputs are float32 on the CPU, whatever the network's device and dtype. On a GPU, fp32 is fp32 and not
    TF32, as in every graph of a bundle.

    Args:
        parts: the network; or the part before its classifier, and the classifier.
        spec: its outputs are those of the parts, the last part's first, then feature maps of the first part.
    """
    parameter, shapes = next(parts[0].parameters()), [one.shape for one in spec.feature_maps]
    dtype = parameter.dtype if spec.whitening is None else torch.float32  # whitening computes in float32, then rounds

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
    """In eval mode: otherwise BN would update its statistics and dropout would be active."""
    training = [part for part in network.modules() if part.training]
    network.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
