"""Global contrast normalisation and ZCA whitening as a frozen first module of a network; torch only."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec, Whitening

__all__ = ["ZcaWhitening", "add_whitening"]

NAME = "whitening"
MAX_VALUES = 3 * 48 * 48  # of an image: its matrix has 48 million numbers, 191 MB


class ZcaWhitening(nn.Module):
    """Images (N, 3, H, W) of 0..1 in float32 -> whitened images of the same shape, in the type of its matrix.

    Follows pylearn2 (`expr/preprocessing.py`, `datasets/preprocessing.py`), whose script made_cifar10_gcn_whitened the
    WRN authors used: x is an image minus its own mean, scaled to the length `scale`; the result is
    (x - mean of the training images) (covariance + bias)^(-1/2). The length is always computed in float32: scaling an
    image of little contrast amplifies its rounding errors.
    """

    mean: torch.Tensor
    matrix: torch.Tensor

    def __init__(self, size: tuple[int, ...], whitening: Whitening) -> None:
        super().__init__()
        count = size[0] * size[1] * size[2]
        self.size, self.whitening = size, whitening
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("matrix", torch.eye(count))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The input of the network's first layer; mixed precision begins after it."""
        device = images.device.type
        if device in ("cpu", "cuda") and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._whiten(images)
        return self._whiten(images)

    def _whiten(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.float().reshape(-1, len(self.mean))
        centred = flat - flat.mean(1, keepdim=True)
        length = (centred * centred).sum(1, keepdim=True).sqrt().clamp(min=self.whitening.min_length)
        contrast = centred * (self.whitening.scale / length) - self.mean.float()
        whitened: torch.Tensor = (contrast.to(self.matrix.dtype) @ self.matrix).reshape(-1, *self.size)
        return whitened


def add_whitening(network: nn.Module, spec: ModelSpec) -> nn.Module:
    """The same network, which now whitens its input if `spec` says so; the caller sets mean and matrix.

    Both are buffers and thus part of the weights. A hook calls the module, so that the network keeps its names.

    Raises:
        DeployError: the images are too large.
    """
    if spec.whitening is None:
        return network
    size = spec.core.input.shape
    count = size[0] * size[1] * size[2]
    if count > MAX_VALUES:
        raise DeployError(
            f"whitening of {size[2]}x{size[1]} images needs a matrix of {count}x{count} numbers ({4e-9 * count**2:.1f} "
            "GB): expected images up to 48x48; train without it"
        )
    network.register_module(NAME, ZcaWhitening(size, spec.whitening))
    network.register_forward_pre_hook(_whiten)
    return network


def _whiten(network: nn.Module, images: tuple[Any, ...]) -> tuple[torch.Tensor]:
    module = network.get_submodule(NAME)
    whitened: torch.Tensor = module(*images)
    return (whitened,)
