"""BN over several processes: statistics of the whole batch, and equal running statistics in all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wrn_deploy.training.execution.processes import ProcessGroup

__all__ = ["WholeBatchNorm", "equalize_statistics", "with_whole_batch_norms"]


class _SumOfAll(torch.autograd.Function):
    """The sum over the processes; the gradient of each input is the sum of the gradients in all processes."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 (torch's signature)
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        summed = gradient.clone()
        torch.distributed.all_reduce(summed)
        return summed


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
