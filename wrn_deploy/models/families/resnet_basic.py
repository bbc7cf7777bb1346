"""The ImageNet networks of basic blocks: ResNet-18, -34 (CVPR 2016) and WRN-18-k, WRN-34-k (BMVC 2016); torch only.

As in the authors' code (pretrained/wide-resnet.lua), `widen` holds for the four groups and not for the stem's 64
channels, so that a skip of the first group is a Conv too where it is not 1.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.errors import DeployError
from wrn_deploy.models.families.resnet import IMAGENET, LAYOUTS, PostActivationResNet, initialize
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
    found = read_wrn_name(name)
    if found is not None:
        if found.kind is not WrnKind.IMAGENET or found.depth not in BLOCKS:
            return None
        depth, widen, name = found.depth, found.widen, str(found)
        if widen < 1 or widen * FINEST != int(widen * FINEST):
            raise DeployError(
                f"{name} cannot be built: expected a widening factor from 1, a multiple of 1/{FINEST}, as in "
                f"wrn-{depth}-1.5 or wrn-{depth}-2"
            )
        if widen == 1:
            name = f"resnet-{depth}"
    else:
        widen = 1
        depth = next((depth for depth in BLOCKS if name == f"resnet-{depth}"), 0)
        if not depth:
            return None
    return ModelSpec(name=name, family="resnet_basic", depth=depth, widen=widen, classes=1000, preprocessing=IMAGENET)


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised by He et al., fan-out, with weak residual branches."""
    blocks = BLOCKS[spec.depth]
    widths = (STEM, *(int(width * spec.widen) for width in (64, 128, 256, 512)))
    groups = [_group(widths[i], widths[i + 1], 2 if i else 1, blocks[i]) for i in range(4)]
    network = PostActivationResNet(groups, widths[4], spec.classes, spec.dropout)
    initialize(network, [module.bn2 for module in network.modules() if isinstance(module, BasicBlock)])
    return network


class BasicBlock(nn.Module):
    """3x3 (with the stride), 3x3 with BN after each, plus the skip, then ReLU."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + skip)


def _group(width_in: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(width_in, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))
