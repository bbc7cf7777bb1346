"""What all families share: feature maps, pooling and classifier, groups of blocks, He's initialisation; torch only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.models import classifier_of

__all__ = ["ImageClassifier", "initialize_convs", "run_groups", "split_classifier", "stack_groups"]


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


def split_classifier(network: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The part before the classifier, images -> features, and the classifier, features -> logits.

    Both share the weights of the network, which is not changed: only the modules that contain the classifier are
    copied, shallowly. (A hook would see the calls of all threads that share the network.)
    """
    classifier = classifier_of(network)
    *parents, own = next(name for name, module in network.named_modules() if module is classifier).split(".")
    view = holder = _shallow_copy(network)
    for name in parents:
        inner = _shallow_copy(holder.get_submodule(name))
        setattr(holder, name, inner)
        holder = inner
    setattr(holder, own, nn.Identity())
    return view, classifier


def _shallow_copy(module: nn.Module) -> nn.Module:
    made = copy.copy(module)
    made.__dict__["_modules"] = dict(made.__dict__["_modules"])  # else changes of the copy would change the original
    return made
