"""Opens a caller's own network for inference as it stands: on its device, its weights shared, its mode kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from wrn_deploy.backends._torch import TorchBackend
from wrn_deploy.backends._torch_device import CpuDevice
from wrn_deploy.spec import ModelSpec

__all__ = ["open_module"]


@contextlib.contextmanager
def open_module(parts: tuple[nn.Module, ...], spec: ModelSpec) -> Iterator[TorchBackend]:
    """A network as a backend for the block; it is in eval mode meanwhile, and its weights are never copied.

    Inputs and outputs are on the CPU wherever the network is, and float32 whatever its weights are. In fp32 the GPU
    computes in fp32, not in TF32, as in every graph of a bundle.

    Args:
        parts: the network; or what comes before its classifier, and the classifier.
        spec: its outputs are those of the parts, the last part's first.
    """
    parameter = next(parts[0].parameters())

    def run(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, results = images.to(device=parameter.device, dtype=parameter.dtype), list[torch.Tensor]()
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for part in parts:
                values = part(values)
                results.append(values.float().cpu())
        return tuple(reversed(results))

    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.enter_context(_evaluating(part))
        yield stack.enter_context(TorchBackend(run, spec, CpuDevice))


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode: else BN would learn from the images, and dropout would drop."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
