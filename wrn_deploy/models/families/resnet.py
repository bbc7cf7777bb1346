"""The ImageNet bottleneck networks ResNet-50, -101, -152 (CVPR 2016) and WRN-50-2, -101-2 (BMVC 2016); torch only.

The stride is that of the 3x3 Conv, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models.checkpoints.layout import UNIT_VARIANCE, KeyLayout
from wrn_deploy.models.image_classifier import ImageClassifier, initialize_convs, run_groups, stack_groups
from wrn_deploy.models.wrn_names import read_wrn_name
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["BRANCH", "IMAGENET", "LAYOUTS", "LISTED", "WIDTHS", "ImageNetResNet", "build", "describe", "skip_conv"]

# Blocks in each of the four groups, by depth (He et al., "Deep Residual Learning", 2016, table 1).
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 256, 512, 1024, 2048)  # channels of the stem and of each group
LISTED = ("resnet-50", "resnet-101", "resnet-152", "wrn-50-2", "wrn-101-2")

# What the last BN of a block starts with: near 0, a block starts near the identity (Goyal et al., "Accurate, Large
# Minibatch SGD", 2017, section 5.1). With 1, the rounding of fp16 grows from block to block of an untrained network.
BRANCH = 0.25

BACKBONE = ((r"fc\.(.+)", "head.fc.{1}"), (r"(.+)", "backbone.{1}"))
DEEP_STEM = (r"conv1\.weight", "conv1.6.weight")

# Checkpoints of other projects. The last two have three convolutions in the stem, so that they cannot be loaded.
LAYOUTS = (
    KeyLayout(name="torchvision, timm and this project"),  # the same keys
    KeyLayout(name="mmpretrain", rules=BACKBONE),
    KeyLayout(
        name="szagoruyko/functional-zoo",  # wide-resnet-50-2-export, resnet-18-export ...
        rules=(
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
        name="timm's ResNet-C",
        rules=(DEEP_STEM,),
        refused="its stem has three convolutions (resnet50c, resnet50s ...), another network than this one with its "
        "single 7x7 convolution; expected a checkpoint with conv1.weight",
    ),
    KeyLayout(
        name="timm's ResNet-D",
        rules=(
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
    groups = stack_groups(Bottleneck, WIDTHS, BLOCKS[spec.depth], widen=int(spec.widen))
    return ImageNetResNet(groups, WIDTHS[-1], spec)


class ImageNetResNet(ImageClassifier):
    """The ImageNet stem, four groups of blocks, and the classifier: images (N, 3, H, W) -> logits (N, classes).

    With `pre_activation`, BN and ReLU follow the last block.
    """

    def __init__(
        self, groups: Sequence[nn.Sequential], features: int, spec: ModelSpec, *, pre_activation: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2, self.layer3, self.layer4 = groups
        self.bn2 = nn.BatchNorm2d(features) if pre_activation else None
        self.dropout = spec.dropout
        self.fc = nn.Linear(features, spec.classes)
        initialize_convs(self)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of the groups, before any BN that follows them, at strides 4, 8, 16 and 32."""
        features = functional.relu(self.bn1(self.conv1(images)))
        pooled = functional.max_pool2d(features, 3, stride=2, padding=1)
        return run_groups(pooled, self.layer1, self.layer2, self.layer3, self.layer4)

    def activated(self, features: torch.Tensor) -> torch.Tensor:
        """The output of the last group, or its BN and ReLU."""
        return features if self.bn2 is None else functional.relu(self.bn2(features))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 with BN after each, plus the skip, then ReLU."""

    def __init__(self, width_in: int, width: int, stride: int, *, widen: int = 1) -> None:
        super().__init__()
        inner = width // 4 * widen
        self.conv1 = nn.Conv2d(width_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = skip_conv(width_in, width, stride)
        nn.init.constant_(self.bn3.weight, BRANCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        return functional.relu(self.bn3(self.conv3(inner)) + skip)


def skip_conv(width_in: int, width: int, stride: int) -> nn.Module | None:
    """A 1x1 Conv with its BN for a skip that changes the width or the size; None for the identity."""
    if stride == 1 and width_in == width:
        return None
    return nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
