"""Random weights for speed work, conditioned on images so that activations stay in a sane range; torch only."""

from __future__ import annotations

import torch
from torch import nn

from wrn_deploy.models import build_model
from wrn_deploy.spec import ModelSpec

__all__ = ["build_random"]


def build_random(spec: ModelSpec, images: torch.Tensor, seed: int) -> nn.Module:
    """A network with seeded weights whose BN statistics are those of `images`, (N, 3, H, W), normalised.

    With them every BN gives unit variance, as after training; left at their initial values, activations would grow from
    block to block until fp16 overflows, and calibration would see ranges that no trained network has.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(spec)
    norms = [module for module in network.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:  # they alone: dropout would draw numbers, and the statistics would be of other activations
        norm.train()
        norm.momentum = 1.0  # the statistics of this one batch
    with torch.no_grad():
        network(images)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return network.eval()
