"""The pre-activation bottleneck ResNet for CIFAR (He et al., "Identity Mappings in Deep Residual Networks", 2016).

Torch only. ResNet-164 and ResNet-1001, as in the authors' code (resnet-1k-layers): three groups, the stride is that of
a block's first Conv, no BN after the stem, and if the width changes the skip is a Conv of the block's first ReLU.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.errors import DeployError
from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.families.preresnet import BLOCKS, BRANCH, UNIT_RULES, PreActivationBottleneck, weaken_branches
from wrn_deploy.models.families.wrn import CIFAR10
from wrn_deploy.models.image_classifier import ImageClassifier, initialize_convs, run_groups, stack_groups
from wrn_deploy.spec import ModelSpec

__all__ = ["LAYOUTS", "LISTED", "CifarPreActivationResNet", "build", "describe"]

LISTED = ("preresnet-164", "preresnet-1001")

LAYOUTS = (
    KeyLayout(
        name="pytorchcv",
        rules=(
            (r"conv1\.weight", "features.init_block.weight"),
            (r"bn1\.(.+)", "features.post_activ.bn.{1}"),
            *UNIT_RULES,
        ),
        refused="its 3x3 convolutions have the stride, and here, as in the authors' code, a block's first one has it, "
        "so that these tensors make another network; expected a checkpoint of the authors' network",
    ),
)


def describe(name: str) -> ModelSpec | None:
    """`preresnet-164` or another depth of 9n+2; None for other families' names, DeployError if it cannot be built.

    Depths that are also ImageNet's, 101 and 200, are CIFAR's with `-cifar` appended.
    """
    match = re.fullmatch(r"preresnet-(\d{1,4})(-cifar)?", name)
    if match is None:
        return None
    depth = int(match[1])
    if not match[2] and depth in BLOCKS:
        return None
    if depth < 11 or (depth - 2) % 9 != 0:
        below = max(11, depth - (depth - 2) % 9)
        raise DeployError(
            f"{name} cannot be built: expected a depth of 9n+2, such as preresnet-{below} or preresnet-{below + 9}; or "
            f"one of ImageNet's: {', '.join(map(str, BLOCKS))}"
        )
    ending = "-cifar" if depth in BLOCKS else ""
    name = f"preresnet-{depth}{ending}"
    return ModelSpec(name=name, family="preresnet_cifar", depth=depth, widen=1, classes=10, preprocessing=CIFAR10)


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised by He et al., fan-out, with weak residual branches."""
    return CifarPreActivationResNet((spec.depth - 2) // 9, spec.classes, spec.dropout)


class CifarPreActivationResNet(ImageClassifier):
    """Three groups of `blocks` pre-activation bottlenecks: images (N, 3, 32, 32) -> logits (N, classes)."""

    def __init__(self, blocks: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layer1, self.layer2, self.layer3 = stack_groups(
            PreActivationBottleneck, (16, 64, 128, 256), [blocks] * 3, strides_first=True
        )
        self.bn1 = nn.BatchNorm2d(256)
        self.dropout = dropout
        self.fc = nn.Linear(256, classes)
        # So that a group of any depth adds as much to its input: the rounding of fp16 would grow from block to block.
        initialize_convs(self)
        weaken_branches(self, min(BRANCH, blocks**-0.5))
        nn.init.zeros_(self.fc.bias)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The sums at the ends of the groups, before any BN, at strides 1, 2 and 4."""
        return run_groups(self.conv1(images), self.layer1, self.layer2, self.layer3)

    def activated(self, features: torch.Tensor) -> torch.Tensor:
        """BN and ReLU after the last sum."""
        return functional.relu(self.bn1(features))
