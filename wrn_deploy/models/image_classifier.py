"""The base class of all families: feature maps, the last one pooled, and the classifier; torch only."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ImageClassifier"]


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
