"""Random weights for speed measurements, with BN fitted to images so that activations stay in range; torch only."""

from __future__ import annotations

import torch
from torch import nn

from wrn_deploy.models import build_model
from wrn_deploy.spec import ModelSpec

__all__ = ["build_random"]


def build_random(spec: ModelSpec, images: torch.Tensor, seed: int) -> nn.Module:
    """A network with seeded weights whose BN statistics are those of `images`, (N, 3, H, W), normalised.

    Every BN then outputs unit variance, as after training. With the initial statistics, activations would grow from
    block to block until fp16 overflows, and calibration would see ranges that no trained network has.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(spec)
    norms = [module for module in network.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:  # only BN: dropout would change the activations that the statistics describe
        norm.train()
        norm.momentum = 1.0  # the statistics of this one batch
    with torch.no_grad():
        network(images)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return network.eval()
