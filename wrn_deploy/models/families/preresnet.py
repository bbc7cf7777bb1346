"""The pre-activation bottleneck ResNet for ImageNet (He et al., "Identity Mappings in Deep Residual Networks", 2016).

Torch only. Published code differs in details; this is the layout of imgclsmob's `preresnet200b`:

- the stem is Conv, BN, ReLU and MaxPool, and every block, the first one too, begins with BN and ReLU;
- where the width changes, the block and its skip share that BN and ReLU, as in the authors' code; the skip is a Conv;
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
from wrn_deploy.models.families.resnet import IMAGENET
from wrn_deploy.models.image_classifier import ImageClassifier
from wrn_deploy.spec import ModelSpec

__all__ = [
    "BLOCKS",
    "BRANCH",
    "LAYOUTS",
    "LISTED",
    "PreActivationBottleneck",
    "PreActivationResNet",
    "build",
    "describe",
    "initialize",
]

# Blocks in each of the four groups, by depth; 26 is for tests.
BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
LISTED = ("preresnet-200",)

# What the last Conv of a block is multiplied by at the start, as the last BN is in `resnet.py`: with 1, every block
# would double the variance of what runs along the skips until BN has learned its statistics.
BRANCH = 0.25

LAYOUTS = (
    KeyLayout(
        "pytorchcv",
        (
            (r"conv1\.weight", "features.init_block.conv.weight"),
            (r"bn1\.(.+)", "features.init_block.bn.{1}"),
            (r"layer(\d)\.(\d+)\.conv(\d)\.weight", "features.stage{1}.unit{2:+1}.body.conv{3}.conv.weight"),
            (r"layer(\d)\.(\d+)\.bn(\d)\.(.+)", "features.stage{1}.unit{2:+1}.body.conv{3}.bn.{4}"),
            (r"layer(\d)\.(\d+)\.downsample\.weight", "features.stage{1}.unit{2:+1}.identity_conv.weight"),
            (r"bn2\.(.+)", "features.post_activ.bn.{1}"),
            (r"fc\.(.+)", "output.{1}"),
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
    return PreActivationResNet(BLOCKS[spec.depth], int(spec.widen), spec.classes, spec.dropout)


class PreActivationResNet(ImageClassifier):
    """A pre-activation bottleneck ResNet: images (N, 3, H, W) -> logits (N, classes)."""

    def __init__(self, blocks: tuple[int, ...], widen: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _group(64, 64, widen, 1, blocks[0])
        self.layer2 = _group(256, 128, widen, 2, blocks[1])
        self.layer3 = _group(512, 256, widen, 2, blocks[2])
        self.layer4 = _group(1024, 512, widen, 2, blocks[3])
        self.bn2 = nn.BatchNorm2d(2048)
        self.dropout = dropout
        self.fc = nn.Linear(2048, classes)
        initialize(self)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The sums at the ends of the groups, before any BN, at strides 4, 8, 16 and 32."""
        features = functional.relu(self.bn1(self.conv1(images)))
        first = self.layer1(functional.max_pool2d(features, 3, stride=2, padding=1))
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, self.layer4(third)]

    def activated(self, features: torch.Tensor) -> torch.Tensor:
        """BN and ReLU after the last sum."""
        return functional.relu(self.bn2(features))


def initialize(network: nn.Module, branch: float = BRANCH) -> None:
    """Initialises by He et al., fan-out, with weak residual branches: the last Conv of each is multiplied."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if isinstance(module, PreActivationBottleneck):
            with torch.no_grad():
                module.conv3.weight.mul_(branch)


class PreActivationBottleneck(nn.Module):
    """BN-ReLU-Conv, thrice (1x1, 3x3, 1x1), plus the skip; see above for the skip's Conv.

    The stride is that of the 3x3 Conv, or of the first one with `strides_first`.
    """

    def __init__(self, width_in: int, planes: int, widen: int, stride: int, *, strides_first: bool = False) -> None:
        super().__init__()
        inner, outer = planes * widen, planes * 4
        first, second = (stride, 1) if strides_first else (1, stride)
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, inner, 1, first, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.downsample = nn.Conv2d(width_in, outer, 1, stride, bias=False) if width_in != outer else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, 4 * planes, H / stride, W / stride)."""
        activated = functional.relu(self.bn1(x))
        skip = x if self.downsample is None else self.downsample(activated)
        inner = functional.relu(self.bn2(self.conv1(activated)))
        inner = functional.relu(self.bn3(self.conv2(inner)))
        summed: torch.Tensor = self.conv3(inner) + skip
        return summed


def _group(width_in: int, planes: int, widen: int, stride: int, blocks: int) -> nn.Sequential:
    first = PreActivationBottleneck(width_in, planes, widen, stride)
    return nn.Sequential(first, *(PreActivationBottleneck(planes * 4, planes, widen, 1) for _ in range(blocks - 1)))
