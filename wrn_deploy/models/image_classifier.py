"""What all families share: a network of groups, its feature maps, pooling and classifier, and He's initialisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ImageClassifier", "initialize_convs", "run_groups", "stack_groups"]


class ImageClassifier(nn.Module):
    """Images (N, 3, H, W) -> logits (N, classes).

    A family's network defines `fc` and `feature_maps`; one that ends in BN and ReLU defines `activated` too. `dropout`
    is the probability before the classifier, for networks with dropout there.
    """

    fc: nn.Linear
    dropout: float = 0.0

    def forward(self, images: torch.Tensor, maps: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The logits of a batch; appends the feature maps to `maps`."""
        found = self.feature_maps(images)
        if maps is not None:
            maps += found
        pooled = self.activated(found[-1]).mean((2, 3))
        if self.dropout:
            pooled = functional.dropout(pooled, self.dropout, self.training)
        logits: torch.Tensor = self.fc(pooled)
        return logits

    def feature_maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The last tensor of each resolution, the finest first."""
        raise NotImplementedError

    def activated(self, features: torch.Tensor) -> torch.Tensor:
        """The last feature map as it is pooled."""
        return features


def stack_groups(
    block: Callable[..., nn.Module], widths: Sequence[int], counts: Sequence[int], **options: Any
) -> list[nn.Sequential]:
    """Groups of residual blocks; the first block of each but the first has stride 2.

    Args:
        block: called with the channels before and after it, its stride, and `options`.
        widths: channels before the first group and after each.
        counts: the number of blocks in each group.
        options: the same for every block.
    """
    groups = []
    for index, count in enumerate(counts):
        width = widths[index + 1]
        first = block(widths[index], width, 2 if index else 1, **options)
        groups.append(nn.Sequential(first, *(block(width, width, 1, **options) for _ in range(count - 1))))
    return groups


def run_groups(features: torch.Tensor, *groups: nn.Module) -> list[torch.Tensor]:
    """The output of each group, which is the input of the next."""
    maps = []
    for group in groups:
        features = group(features)
        maps.append(features)
    return maps


def initialize_convs(network: nn.Module) -> None:
    """Initialises the Convs by He et al., fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
