"""Changes a network for training: BN over all processes, and blocks that compute their activations again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from wrn_deploy.errors import UsageError
from wrn_deploy.training.execution.processes import ProcessGroup

__all__ = ["WholeBatchNorm", "blocks_of", "checkpoint_blocks", "equalize_statistics", "with_whole_batch_norms"]


class _SumOfAll(torch.autograd.Function):
    """The sum over the processes; the gradient of each input is the sum of the gradients in all processes."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 (torch's signature)
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    backward = forward


class WholeBatchNorm(nn.BatchNorm2d):
    """BN that uses the statistics of all processes' images in training.

    PyTorch's SyncBatchNorm does the same on GPUs only.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (nn.BatchNorm2d's name)
        """(N, C, H, W) -> the same shape."""
        if not self.training:
            return super().forward(input)
        channels = (1, -1, 1, 1)
        own = torch.cat([input.sum((0, 2, 3)), input.new_tensor([input.numel() / input.shape[1]])])
        whole = _sum_of_all(own)
        count = whole[-1].detach()
        mean = whole[:-1] / count
        centred = input - mean.view(channels)
        variance = _sum_of_all(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scaled = centred * torch.rsqrt(variance + self.eps).view(channels)
        moved: torch.Tensor = scaled * self.weight.view(channels) + self.bias.view(channels)
        return moved

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def with_whole_batch_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with BN over all processes: PyTorch's own on a GPU, the one above on a CPU."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm  # parameters, buffers and their names stay
    return network


def _sum_of_all(values: torch.Tensor) -> torch.Tensor:
    summed: torch.Tensor = _SumOfAll.apply(values)  # type: ignore[no-untyped-call]
    return summed


def equalize_statistics(network: nn.Module, processes: ProcessGroup) -> None:
    """Averages BN's running statistics over the processes, if each has seen its own images only."""
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and name.endswith(("running_mean", "running_var")):
            buffer.copy_(processes.sum(buffer) / processes.shard.size)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The residual blocks of any family: the parts of a Sequential that have at least two Convs."""
    return [
        part
        for module in network.modules()
        if isinstance(module, nn.Sequential)
        for part in module
        if not isinstance(part, nn.Sequential) and sum(isinstance(inner, nn.Conv2d) for inner in part.modules()) > 1
    ]


def checkpoint_blocks(network: nn.Module) -> None:
    """Makes each residual block of `network` compute its activations again in training, with the same results.

    Dropout draws the same numbers again, and BN's running statistics count each image once.

    Raises:
        UsageError: the network has no residual blocks.
    """
    blocks = blocks_of(network)
    if not blocks:
        raise UsageError("--checkpointing: this network has no residual blocks: expected one with some; leave it out")
    for block in blocks:
        block.forward = functools.partial(_forward, block, block.forward)


def _forward(block: nn.Module, inner: Any, *inputs: torch.Tensor) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return inner(*inputs)
    return checkpoint(
        inner, *inputs, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _frozen_statistics(block))
    )


@contextlib.contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Within it, BN updates copies of its running statistics."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    kept = [dict(norm._buffers) for norm in norms]  # noqa: SLF001 (the one place that holds them)
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({name: value.clone() for name, value in buffers.items() if value is not None})  # noqa: SLF001
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)  # noqa: SLF001
