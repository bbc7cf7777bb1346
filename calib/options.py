"""The options of int8 graphs, by name: how they are written and fine-tuned; the standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.errors import UsageError

__all__ = ["TEMPERATURE", "Loss", "Rounding", "Schedule", "WeightScales"]

TEMPERATURE = 4.0  # of distillation: Hinton et al., arXiv:1503.02531, found 2.5 to 4 best for small networks
LOOKS = 5  # how often the graph is judged by the held-out images


class Rounding(StrEnum):
    """How to round weights: each to the nearest, or with feedback of errors."""

    NEAREST = "nearest"
    FEEDBACK = "feedback"


class WeightScales(StrEnum):
    """What has a scale of its own: each output channel of a Conv, or the Conv's weights as a whole."""

    CHANNEL = "per-channel"
    TENSOR = "per-tensor"


class Loss(StrEnum):
    """The target: fp32's answers, which need no labels, the labels, or both in equal parts."""

    DISTILL = "distill"
    LABELS = "labels"
    BOTH = "both"

    @property
    def needs_labels(self) -> bool:
        """Whether every image must have a label."""
        return self is not Loss.DISTILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The options of fine-tuning."""

    steps: int = 200  # of the optimizer; the rate falls to 0 over them along a cosine
    batch: int = 64  # images per step
    rate: float = 0.01  # of Adam at the start, in steps of int8 for weights; other rates are in proportion to it
    loss: Loss = Loss.DISTILL
    scales: bool = True  # whether to train the scales of activations and weights
    seed: int = 0  # of order and augmentation

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise UsageError(f"{self.steps} steps of {self.batch} images: expected at least 1 of at least 1")
        if not 0.0 < self.rate < math.inf:
            raise UsageError(f"--lr {self.rate:g}: expected a positive rate, such as 0.01")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed}: expected 0 to 2**63 - 1")

    @property
    def looks(self) -> tuple[int, ...]:
        """The steps after which the graph is judged by the held-out images, the last step included."""
        count = min(LOOKS, self.steps)
        return tuple(dict.fromkeys(round(self.steps * part / count) for part in range(1, count + 1)))
