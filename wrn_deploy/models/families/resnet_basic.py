"""The ImageNet networks of basic blocks: ResNet-18, -34 (CVPR 2016) and WRN-18-k, WRN-34-k (BMVC 2016); torch only.

As in the authors' code (pretrained/wide-resnet.lua), `widen` holds for the four groups and not for the stem's 64
channels, so that a skip of the first group is a Conv too if it is not 1.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.errors import DeployError
from wrn_deploy.models.families.resnet import BRANCH, IMAGENET, LAYOUTS, ImageNetResNet, skip_conv
from wrn_deploy.models.image_classifier import stack_groups
from wrn_deploy.models.wrn_names import WrnKind, read_wrn_name
from wrn_deploy.spec import ModelSpec

__all__ = ["LAYOUTS", "LISTED", "BasicBlock", "build", "describe"]

# Blocks in each of the four groups, by depth (He et al., "Deep Residual Learning", 2016, table 1); 10 is for tests.
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
LISTED = ("resnet-18", "resnet-34", "wrn-18-1.5", "wrn-18-2", "wrn-18-3", "wrn-34-1.5", "wrn-34-2")

STEM = 64
FINEST = 8  # widening factors are multiples of an eighth, so that each group has a multiple of 8 channels


def describe(name: str) -> ModelSpec | None:
    """`resnet-18`, `resnet-34`, `wrn-18-k` or ImageNet's `wrn-34-k`; None for other families' names.

    Raises:
        DeployError: a widening factor that cannot be.
    """
    plain = re.fullmatch(r"resnet-([1-9]\d)", name)
    found = read_wrn_name(f"wrn-{plain[1]}-1-imagenet" if plain else name)
    if found is None or found.kind is not WrnKind.IMAGENET or found.depth not in BLOCKS:
        return None
    depth, widen = found.depth, found.widen
    if widen < 1 or widen * FINEST != int(widen * FINEST):
        raise DeployError(
            f"{found} cannot be built: expected a widening factor from 1, a multiple of 1/{FINEST}, such as "
            f"wrn-{depth}-1.5 or wrn-{depth}-2"
        )
    shortest = f"resnet-{depth}" if widen == 1 else str(found)
    return ModelSpec(
        name=shortest, family="resnet_basic", depth=depth, widen=widen, classes=1000, preprocessing=IMAGENET
    )


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised by He et al., fan-out, with weak residual branches."""
    widths = (STEM, *(int(width * spec.widen) for width in (64, 128, 256, 512)))
    return ImageNetResNet(stack_groups(BasicBlock, widths, BLOCKS[spec.depth]), widths[-1], spec)


class BasicBlock(nn.Module):
    """3x3 (with the stride), 3x3 with BN after each, plus the skip, then ReLU."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = skip_conv(width_in, width, stride)
        nn.init.constant_(self.bn2.weight, BRANCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + skip)
