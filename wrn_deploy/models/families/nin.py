"""Network in Network for CIFAR, as the WRN paper's authors train it for comparison (models/nin.lua); torch only.

Lin et al., "Network In Network", arXiv:1312.4400, with BN after each Conv, without dropout, and with a linear
classifier. The Convs have biases, as in the run that the authors publish (their log counts them; later code has none).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.families.wrn import CIFAR10
from wrn_deploy.models.image_classifier import ImageClassifier
from wrn_deploy.spec import ModelSpec

__all__ = ["LAYOUTS", "LISTED", "NetworkInNetwork", "NormalizedConv", "build", "describe"]

LISTED = ("nin",)

LAYOUTS: tuple[KeyLayout, ...] = ()

Layer = tuple[int, int, int]  # channels in, channels out, size of the kernel
FIRST: tuple[Layer, ...] = ((3, 192, 5), (192, 160, 1), (160, 96, 1))
SECOND: tuple[Layer, ...] = ((96, 192, 5), (192, 192, 1), (192, 192, 1))
THIRD: tuple[Layer, ...] = ((192, 192, 3), (192, 192, 1), (192, 192, 1))


def describe(name: str) -> ModelSpec | None:
    """`nin`; None for other families' names."""
    if name not in LISTED:
        return None
    return ModelSpec(
        name=name, family="nin", depth=len(FIRST + SECOND + THIRD), widen=1, classes=10, preprocessing=CIFAR10
    )


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised as in the authors' code (He et al., fan-out)."""
    return NetworkInNetwork(spec.classes, spec.dropout)


class NetworkInNetwork(ImageClassifier):
    """Three groups of a larger and two 1x1 Convs: images (N, 3, 32, 32) -> logits (N, classes)."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.group1, self.group2, self.group3 = (
            nn.Sequential(*(NormalizedConv(*layer, bias=True) for layer in layers)) for layers in (FIRST, SECOND, THIRD)
        )
        self.dropout = dropout
        self.fc = nn.Linear(THIRD[-1][1], classes)
        nn.init.zeros_(self.fc.bias)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of the groups, before pooling, at strides 1, 2 and 4."""
        first = self.group1(images)
        second = self.group2(functional.max_pool2d(first, 3, stride=2, ceil_mode=True))
        # A window that reaches over the edge is the mean of what it covers: said so, every runtime does the same.
        pooled = functional.avg_pool2d(second, 3, stride=2, ceil_mode=True, count_include_pad=False)
        return [first, second, self.group3(pooled)]


class NormalizedConv(nn.Module):
    """Conv, BN, ReLU; the size of the image stays."""

    def __init__(self, width_in: int, width: int, kernel: int, *, bias: bool, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, padding=kernel // 2, bias=bias)
        self.bn = nn.BatchNorm2d(width, eps=epsilon)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, width, H, W)."""
        return functional.relu(self.bn(self.conv(x)))
