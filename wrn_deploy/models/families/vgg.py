"""VGG for CIFAR, as the WRN paper's authors train it for comparison (models/vgg.lua); torch only.

The layers of the 19-layer network of Simonyan and Zisserman, "Very Deep Convolutional Networks", arXiv:1409.1556, with
BN after each Conv, without dropout, and with one linear classifier after the average of the last group.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.families.nin import NormalizedConv
from wrn_deploy.models.families.wrn import CIFAR10
from wrn_deploy.models.image_classifier import ImageClassifier
from wrn_deploy.spec import ModelSpec

__all__ = ["LAYOUTS", "LISTED", "Vgg", "build", "describe"]

LISTED = ("vgg",)

LAYOUTS: tuple[KeyLayout, ...] = ()

WIDTHS = (64, 128, 256, 512, 512)
CONVS = (2, 2, 4, 4, 4)  # in each group
EPSILON = 1e-3  # of BN, as in the authors' code


def describe(name: str) -> ModelSpec | None:
    """`vgg`; None for other families' names."""
    if name not in LISTED:
        return None
    return ModelSpec(name=name, family="vgg", depth=sum(CONVS), widen=1, classes=10, preprocessing=CIFAR10)


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised as in the authors' code (He et al., fan-out)."""
    return Vgg(spec.widen, spec.classes, spec.dropout)


class Vgg(ImageClassifier):
    """Five groups of 3x3 Convs with MaxPools between them: images (N, 3, 32, 32) -> logits (N, classes)."""

    def __init__(self, widen: float, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        widths = tuple(int(width * widen) for width in WIDTHS)  # narrower in tests alone
        self.group1, self.group2, self.group3, self.group4, self.group5 = (
            _group(width_in, width, count) for width_in, width, count in zip((3, *widths), widths, CONVS, strict=False)
        )
        self.dropout = dropout
        self.fc = nn.Linear(widths[-1], classes)
        nn.init.zeros_(self.fc.bias)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of the groups, before pooling, at strides 1, 2, 4, 8 and 16."""
        maps = [self.group1(images)]
        for group in (self.group2, self.group3, self.group4, self.group5):
            maps.append(group(functional.max_pool2d(maps[-1], 2, ceil_mode=True)))
        return maps


def _group(width_in: int, width: int, count: int) -> nn.Sequential:
    widths = (width_in, *(width for _ in range(count)))
    convs = (NormalizedConv(before, width, 3, bias=False, epsilon=EPSILON) for before in widths[:-1])
    return nn.Sequential(*convs)
