"""The pre-activation Wide ResNet for CIFAR, WRN-d-k (Zagoruyko and Komodakis, BMVC 2016, table 1); torch only."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models.checkpoints.layout import KeyLayout
from wrn_deploy.models.image_classifier import ImageClassifier, initialize_convs, run_groups, stack_groups
from wrn_deploy.models.wrn_names import WrnKind, check_wrn_name, read_wrn_name
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["LAYOUTS", "LISTED", "WideResNet", "build", "describe"]

LISTED = (
    "wrn-16-1", "wrn-16-2", "wrn-16-4", "wrn-16-8", "wrn-16-10", "wrn-22-8", "wrn-22-10", "wrn-28-10", "wrn-28-12",
    "wrn-34-10", "wrn-40-1", "wrn-40-2", "wrn-40-4", "wrn-40-8", "wrn-40-10", "wrn-52-1",
)  # fmt: skip

# Checkpoints of other projects. Those with `refused` have the same tensors, but their networks compute something else.
LAYOUTS = (
    KeyLayout(
        name="xternalz/WideResNet-pytorch",  # and what followed it: TRADES, RobustBench ...
        rules=(
            (r"block(\d)\.(\d+)\.shortcut\.weight", "block{1}.layer.{2}.convShortcut.weight"),
            (r"block(\d)\.(\d+)\.(.+)", "block{1}.layer.{2}.{3}"),
        ),
        unused=(r"sub_block1\..+",),  # TRADES's code makes a second first group, and never calls it
    ),
    KeyLayout(
        name="google-research/augmix",
        rules=(
            (r"block(\d)\.(\d+)\.shortcut\.weight", "block{1}.layer.{2}.conv_shortcut.weight"),
            (r"block(\d)\.(\d+)\.(.+)", "block{1}.layer.{2}.{3}"),
        ),
    ),
    KeyLayout(
        name="szagoruyko/wide-residual-networks",  # the authors' code for PyTorch
        rules=(
            (r"conv1\.weight", "conv0"),
            (r"block(\d)\.(\d+)\.conv(\d)\.weight", "group{1:-1}.block{2}.conv{3:-1}"),
            (r"block(\d)\.(\d+)\.shortcut\.weight", "group{1:-1}.block{2}.convdim"),
            (r"block(\d)\.(\d+)\.bn(\d)\.(.+)", "group{1:-1}.block{2}.bn{3:-1}.{4}"),
            (r"bn1\.(.+)", "bn.{1}"),
        ),
    ),
    KeyLayout(
        name="pytorchcv",  # wrn16_10_cifar10 and its like
        rules=(
            (r"conv1\.weight", "features.init_block.weight"),
            (r"block(\d)\.(\d+)\.conv(\d)\.weight", "features.stage{1}.unit{2:+1}.body.conv{3}.conv.weight"),
            (r"block(\d)\.(\d+)\.shortcut\.weight", "features.stage{1}.unit{2:+1}.identity_conv.weight"),
            (r"block(\d)\.(\d+)\.bn(\d)\.(.+)", "features.stage{1}.unit{2:+1}.body.conv{3}.bn.{4}"),
            (r"bn1\.(.+)", "features.post_activ.bn.{1}"),
            (r"fc\.(.+)", "output.{1}"),
        ),
    ),
    KeyLayout(
        name="mmrazor",
        rules=(
            (r"block(\d)\.(\d+)\.shortcut\.weight", "backbone.layer{1}.{2}.downsample.weight"),
            (r"block(\d)\.(\d+)\.(.+)", "backbone.layer{1}.{2}.{3}"),
            (r"fc\.(.+)", "head.fc.{1}"),
            (r"(.+)", "backbone.{1}"),
        ),
    ),
    KeyLayout(
        name="meliketoy/wide-resnet.pytorch",  # and bmsookim's
        rules=(
            (r"block(\d)\.(\d+)\.shortcut\.weight", "layer{1}.{2}.shortcut.0.weight"),
            (r"block(\d)\.(\d+)\.(.+)", "layer{1}.{2}.{3}"),
            (r"fc\.(.+)", "linear.{1}"),
        ),
        refused="its shortcuts read a block's input before BN and ReLU, and its second convolution has the stride, so "
        "that these tensors make another network than the paper's WRN-d-k; expected a checkpoint of the paper's",
    ),
    KeyLayout(
        name="deepmind/deepmind-research",  # adversarial_robustness; in RobustBench: DMWideResNet
        rules=(
            (r"conv1\.weight", "init_conv.weight"),
            (r"block(\d)\.(\d+)\.conv(\d)\.weight", "layer.{1:-1}.block.{2}.conv_{3:-1}.weight"),
            (r"block(\d)\.(\d+)\.shortcut\.weight", "layer.{1:-1}.block.{2}.shortcut.weight"),
            (r"block(\d)\.(\d+)\.bn(\d)\.(.+)", "layer.{1:-1}.block.{2}.batchnorm_{3:-1}.{4}"),
            (r"bn1\.(.+)", "batchnorm.{1}"),
            (r"fc\.(.+)", "logits.{1}"),
        ),
        refused="its convolutions with a stride pad on the right and below alone, and many of its networks have "
        "another activation than ReLU, so that these tensors make another network than the paper's WRN-d-k; expected a "
        "checkpoint of the paper's",
    ),
)

# Mean and deviation of the CIFAR-10 training images, in units of a 0..1 image.
CIFAR10 = Preprocessing(height=32, width=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))


def describe(name: str) -> ModelSpec | None:
    """WRN-d-k by its name; None for other families' names, DeployError for an impossible depth or width."""
    found = read_wrn_name(name)
    if found is None:
        return None
    check_wrn_name(found, name)
    if found.kind is WrnKind.IMAGENET:
        return None
    return ModelSpec(
        name=str(found), family="wrn", depth=found.depth, widen=found.widen, classes=10, preprocessing=CIFAR10
    )


def build(spec: ModelSpec) -> nn.Module:
    """The network of `spec`, initialised as in the paper's code (He et al., fan-out)."""
    return WideResNet(spec.depth, int(spec.widen), spec.classes, spec.dropout)


class WideResNet(ImageClassifier):
    """WRN-d-k: images (N, 3, 32, 32) -> logits (N, classes)."""

    def __init__(self, depth: int, widen: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        widths, counts = (16, 16 * widen, 32 * widen, 64 * widen), [(depth - 4) // 6] * 3
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1, self.block2, self.block3 = stack_groups(PreActivationBlock, widths, counts, dropout=dropout)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)
        initialize_convs(self)
        nn.init.zeros_(self.fc.bias)

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The sums at the ends of the groups, before any BN, at strides 1, 2 and 4."""
        return run_groups(self.conv1(images), self.block1, self.block2, self.block3)

    def activated(self, features: torch.Tensor) -> torch.Tensor:
        """BN and ReLU after the last sum."""
        return functional.relu(self.bn1(features))


class PreActivationBlock(nn.Module):
    """BN-ReLU-Conv, twice, plus the skip; if the width changes, the skip is a 1x1 Conv of the first ReLU."""

    def __init__(self, width_in: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.dropout = dropout
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if width_in != width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width_in, H, W) -> (N, width, H / stride, W / stride)."""
        activated = functional.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(activated)
        inner = functional.relu(self.bn2(self.conv1(activated)))
        if self.dropout:
            inner = functional.dropout(inner, self.dropout, self.training)
        summed: torch.Tensor = self.conv2(inner) + skip
        return summed
