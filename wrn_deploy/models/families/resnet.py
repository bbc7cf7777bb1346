"""The ImageNet bottleneck networks ResNet-50, -101, -152 (CVPR 2016) and WRN-50-2, -101-2 (BMVC 2016); torch only.

The stride is that of the 3x3 Conv, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models.checkpoints.layout import UNIT_VARIANCE, KeyLayout
from wrn_deploy.models.image_classifier import ImageClassifier
from wrn_deploy.models.wrn_names import read_wrn_name
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["IMAGENET", "LAYOUTS", "LISTED", "PostActivationResNet", "build", "describe", "initialize"]

# Blocks in each of the four groups, by depth (He et al., "Deep Residual Learning", 2016, table 1).
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
LISTED = ("resnet-50", "resnet-101", "resnet-152", "wrn-50-2", "wrn-101-2")

# What the last BN of a block starts with: near 0, a block starts near the identity (Goyal et al., "Accurate, Large
# Minibatch SGD", 2017, section 5.1). With 1, the rounding of fp16 grows from block to block of an untrained network.
BRANCH = 0.25

BACKBONE = ((r"fc\.(.+)", "head.fc.{1}"), (r"(.+)", "backbone.{1}"))
DEEP_STEM = (r"conv1\.weight", "conv1.6.weight")

# Checkpoints of other projects. The last two have three convolutions in the stem, so that they cannot be loaded.
LAYOUTS = (
    KeyLayout("torchvision, timm and this project"),  # the same keys
    KeyLayout("mmpretrain", BACKBONE),
    KeyLayout(
        "szagoruyko/functional-zoo",  # wide-resnet-50-2-export, resnet-18-export ...
        (
            (r"conv1\.weight", "conv0.weight"),
            (r"bn1\.bias", "conv0.bias"),
            (r"layer(\d)\.(\d+)\.conv(\d)\.weight", "group{1:-1}.block{2}.conv{3:-1}.weight"),
            (r"layer(\d)\.(\d+)\.bn(\d)\.bias", "group{1:-1}.block{2}.conv{3:-1}.bias"),
            (r"layer(\d)\.(\d+)\.downsample\.0\.weight", "group{1:-1}.block{2}.conv_dim.weight"),
            (r"layer(\d)\.(\d+)\.downsample\.1\.bias", "group{1:-1}.block{2}.conv_dim.bias"),
        ),
        constants=(
            (r".*(bn\d|downsample\.1)\.weight", 1.0),
            (r".*(bn\d|downsample\.1)\.running_mean", 0.0),
            (r".*(bn\d|downsample\.1)\.running_var", UNIT_VARIANCE),
        ),
        note="BN is folded into its convolutions, and its own statistics are lost: not for training on",
    ),
    KeyLayout(
        "timm's ResNet-C",
        (DEEP_STEM,),
        refused="its stem has three convolutions (resnet50c, resnet50s ...), another network than this one with its "
        "single 7x7 convolution; expected a checkpoint with conv1.weight",
    ),
    KeyLayout(
        "timm's ResNet-D",
        (
            DEEP_STEM,
            (r"layer(\d)\.(\d+)\.downsample\.0\.weight", "layer{1}.{2}.downsample.1.weight"),
            (r"layer(\d)\.(\d+)\.downsample\.1\.(.+)", "layer{1}.{2}.downsample.2.{3}"),
        ),
        refused="its stem has three convolutions and its shortcuts pool (resnet50d, resnet50t ...), another network "
        "than this one with its single 7x7 convolution; expected a checkpoint with conv1.weight",
    ),
)

# The usual ImageNet preprocessing: shorter side 256, centre 224, mean and deviation in units of a 0..1 image.
IMAGENET = Preprocessing(height=224, width=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256)


def describe(name: str) -> ModelSpec | None:
    """`resnet-50` and its like, `wrn-50-2` or `wrn-101-2`; None for other families' names."""
    found = read_wrn_name(name)
    name = name if found is None else str(found)
    if name not in LISTED:
        return None
    _, depth, *widened = name.split("-")
    widen = int(widened[0]) if widened else 1
    return ModelSpec(name=name, family="resnet", depth=int(depth), widen=widen, classes=1000, preprocessing=IMAGENET)


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised by He et al., fan-out, with weak residual branches."""
    blocks, widen = BLOCKS[spec.depth], int(spec.widen)
    groups = (
        _group(64, 64, widen, 1, blocks[0]),
        _group(256, 128, widen, 2, blocks[1]),
        _group(512, 256, widen, 2, blocks[2]),
        _group(1024, 512, widen, 2, blocks[3]),
    )
    network = PostActivationResNet(groups, 2048, spec.classes, spec.dropout)
    initialize(network, [module.bn3 for module in network.modules() if isinstance(module, Bottleneck)])
    return network


class PostActivationResNet(ImageClassifier):
    """The ImageNet stem, four groups of blocks, and the classifier: images (N, 3, H, W) -> logits (N, classes)."""

    def __init__(self, groups: Sequence[nn.Sequential], features: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.dropout = dropout
        self.fc = nn.Linear(features, classes)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of the groups, after their last ReLU, at strides 4, 8, 16 and 32."""
        features = functional.relu(self.bn1(self.conv1(images)))
        first = self.layer1(functional.max_pool2d(features, 3, stride=2, padding=1))
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, self.layer4(third)]


def initialize(network: nn.Module, last_norms: Sequence[nn.BatchNorm2d]) -> None:
    """Initialises by He et al., fan-out, with weak residual branches: `last_norms` are those at their ends."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for norm in last_norms:
        nn.init.constant_(norm.weight, BRANCH)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 with BN after each, plus the skip, then ReLU."""

    def __init__(self, width_in: int, planes: int, widen: int, stride: int) -> None:
        super().__init__()
        inner, outer = planes * widen, planes * 4
        self.conv1 = nn.Conv2d(width_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != outer:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, 4 * planes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        return functional.relu(self.bn3(self.conv3(inner)) + skip)


def _group(width_in: int, planes: int, widen: int, stride: int, blocks: int) -> nn.Sequential:
    first = Bottleneck(width_in, planes, widen, stride)
    return nn.Sequential(first, *(Bottleneck(planes * 4, planes, widen, 1) for _ in range(blocks - 1)))
