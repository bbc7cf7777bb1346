"""The pre-activation bottleneck ResNet for ImageNet (He et al., "Identity Mappings in Deep Residual Networks", 2016).

Torch only. Published code differs in details; this is the layout of imgclsmob's `preresnet200b`:

- the stem is Conv, BN, ReLU and MaxPool, and every block, the first one too, begins with BN and ReLU;
- if the width changes, the block and its skip share that BN and ReLU, as in the authors' code; the skip is a Conv;
- the stride is that of the 3x3 Conv, as in fb.resnet.torch;
- BN and ReLU follow the last block.

fb.resnet.torch leaves out the BN and ReLU before each block of the first group, and has a BN after a skip's Conv; in
timm's, no BN follows the first Conv. Their files do not fit.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.families.resnet import IMAGENET, WIDTHS, ImageNetResNet
from wrn_deploy.models.image_classifier import stack_groups
from wrn_deploy.spec import ModelSpec

__all__ = [
    "BLOCKS", "BRANCH", "LAYOUTS", "LISTED", "UNIT_RULES", "PreActivationBottleneck", "build", "describe",
    "weaken_branches",
]  # fmt: skip

# Blocks in each of the four groups, by depth; 26 is for tests.
BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
LISTED = ("preresnet-200",)

# What the last Conv of a block is multiplied by at the start, as the last BN is in `resnet.py`: with 1, every block
# would double the variance of what runs along the skips until BN has learned its statistics.
BRANCH = 0.25

UNIT_RULES = (  # pytorchcv's names in the blocks and the classifier, also for CIFAR
    (r"layer(\d)\.(\d+)\.conv(\d)\.weight", "features.stage{1}.unit{2:+1}.body.conv{3}.conv.weight"),
    (r"layer(\d)\.(\d+)\.bn(\d)\.(.+)", "features.stage{1}.unit{2:+1}.body.conv{3}.bn.{4}"),
    (r"layer(\d)\.(\d+)\.downsample\.weight", "features.stage{1}.unit{2:+1}.identity_conv.weight"),
    (r"fc\.(.+)", "output.{1}"),
)
LAYOUTS = (
    KeyLayout(
        name="pytorchcv",
        rules=(
            (r"conv1\.weight", "features.init_block.conv.weight"),
            (r"bn1\.(.+)", "features.init_block.bn.{1}"),
            (r"bn2\.(.+)", "features.post_activ.bn.{1}"),
            *UNIT_RULES,
        ),
        note="taken for one whose name there ends in b, as preresnet200b (the 3x3 convolution has the stride); those "
        "without have the same keys and compute something else",
    ),
)


def describe(name: str) -> ModelSpec | None:
    """`preresnet-200`, or another depth of BLOCKS; None for other families' names."""
    depth = next((depth for depth in BLOCKS if name == f"preresnet-{depth}"), None)
    if depth is None:
        return None
    return ModelSpec(name=name, family="preresnet", depth=depth, widen=1, classes=1000, preprocessing=IMAGENET)


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised by He et al., fan-out, with weak residual branches."""
    groups = stack_groups(PreActivationBottleneck, WIDTHS, BLOCKS[spec.depth], widen=int(spec.widen))
    network = ImageNetResNet(groups, WIDTHS[-1], spec, pre_activation=True)
    weaken_branches(network, BRANCH)
    return network


def weaken_branches(network: nn.Module, factor: float) -> None:
    """Multiplies the last Conv of each residual branch."""
    for module in network.modules():
        if isinstance(module, PreActivationBottleneck):
            with torch.no_grad():
                module.conv3.weight.mul_(factor)


class PreActivationBottleneck(nn.Module):
    """BN-ReLU-Conv, thrice (1x1, 3x3, 1x1), plus the skip; see above for the skip's Conv.

    The stride is that of the 3x3 Conv, or of the first one with `strides_first`.
    """

    def __init__(self, width_in: int, width: int, stride: int, *, widen: int = 1, strides_first: bool = False) -> None:
        super().__init__()
        inner = width // 4 * widen
        first, second = (stride, 1) if strides_first else (1, stride)
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, inner, 1, first, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.downsample = nn.Conv2d(width_in, width, 1, stride, bias=False) if width_in != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride)."""
        activated = functional.relu(self.bn1(x))
        skip = x if self.downsample is None else self.downsample(activated)
        inner = functional.relu(self.bn2(self.conv1(activated)))
        inner = functional.relu(self.bn3(self.conv2(inner)))
        summed: torch.Tensor = self.conv3(inner) + skip
        return summed
