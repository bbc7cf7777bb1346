"""Training recipes as data: their numbers, the learning rate at any time, and those known by name with their sources.

The standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.errors import UsageError
from wrn_deploy.plugins import near_names

__all__ = ["DEFAULT", "RECIPES", "LearningRateSchedule", "NamedRecipe", "TrainRecipe", "find_recipe"]


class LearningRateSchedule(StrEnum):
    """How the learning rate changes over a run."""

    STEPS = "steps"
    ONE_CYCLE = "one-cycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """SGD with Nesterov momentum; the defaults are the WRN paper's for CIFAR (`RECIPES` has the others by name).

    Args:
        epochs: passes over the data.
        batch_size: images per step, in all processes together.
        learning_rate: the first rate of `steps`, the highest of `one-cycle`.
        momentum: Nesterov's.
        weight_decay: L2 penalty.
        milestones: fractions of `epochs` at which `steps` multiplies the rate by `drop`; with 200 epochs the defaults
            are epochs 60, 120 and 160. The rate changes at whole epochs only.
        drop: factor at each milestone.
        shift: shift images by up to N pixels; reflection fills the border.
        mirror: mirror half of the images.
        seed: of weights, order and augmentation, 0 to 2**63 - 1.
        schedule: `one-cycle` rises linearly to `learning_rate` and falls linearly to 0, a little with every step.
        warm_up: the fraction of the run in which `one-cycle` rises.
        label_smoothing: the fraction of the target that is spread evenly over all classes.
        decay_norms: apply the penalty to BN and biases too, as in the paper's code.
        resized_crop: scale crops of random size and shape to the input instead of shifting (Inception's).
        jitter: change brightness, contrast and saturation by up to this fraction, in random order.
        lighting: standard deviation of the noise along the principal components of ImageNet's colours (AlexNet's).
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)
    drop: float = 0.2
    shift: int = 4
    mirror: bool = True
    seed: int = 0
    schedule: LearningRateSchedule = LearningRateSchedule.STEPS
    warm_up: float = 0.0
    label_smoothing: float = 0.0
    decay_norms: bool = True
    resized_crop: bool = False
    jitter: float = 0.0
    lighting: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise UsageError(f"{self.epochs} epochs of batches of {self.batch_size}: expected at least 1 of at least 2")
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf and 0 < self.momentum < 1):
            raise UsageError(
                f"learning rate {self.learning_rate}, weight decay {self.weight_decay}, momentum {self.momentum}: "
                "expected a positive rate, a decay of 0 or more, and a momentum between 0 and 1"
            )
        if self.shift < 0 or not 0 <= self.seed < 2**63:
            raise UsageError(f"shift {self.shift} and seed {self.seed}: expected 0 or more, and a seed below 2**63")
        if not (0 <= self.warm_up < 1 and 0 <= self.label_smoothing < 1):
            raise UsageError(
                f"warm-up {self.warm_up} and label smoothing {self.label_smoothing}: expected fractions from 0 "
                "up to, but not including, 1"
            )
        if not (0 <= self.jitter <= 1 and 0 <= self.lighting < math.inf):
            raise UsageError(
                f"jitter {self.jitter} and lighting {self.lighting}: expected a fraction from 0 to 1, and 0 or more"
            )
        if self.resized_crop and self.shift:
            raise UsageError(f"shift {self.shift} with resized crops: expected 0; such a crop is placed at random")

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, which may be a fraction.

        Example:
            >>> TrainRecipe().learning_rate_at(60)
            0.020000000000000004
        """
        if self.schedule is LearningRateSchedule.STEPS:
            passed = sum(math.floor(epoch) / self.epochs >= milestone for milestone in self.milestones)
            return float(self.learning_rate * self.drop**passed)
        done = min(epoch / self.epochs, 1.0)
        rising = done / self.warm_up if done < self.warm_up else 1.0
        falling = (1.0 - done) / (1.0 - self.warm_up) if done >= self.warm_up else 1.0
        return float(self.learning_rate * rising * falling)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRecipe:
    """A recipe with its source, and the dropout and normalisation that belong to it.

    Args:
        recipe: the numbers.
        source: where they are published, or how they were chosen.
        dropout: probability between the convolutions of a block, if the network has dropout there.
        mean: normalises the images; None, with `std`: measured on the training images.
        std: standard deviation, likewise.
    """

    recipe: TrainRecipe
    source: str
    dropout: float = 0.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


DEFAULT = "paper"

RECIPES: Mapping[str, NamedRecipe] = {
    # Mean and deviation of the training images ("meanstd" in the authors' README, which they recommend over whitening).
    # The paper's networks with dropout have 0.3 on CIFAR: give --dropout.
    "paper": NamedRecipe(
        recipe=TrainRecipe(),
        source="Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, section 3; "
        "github.com/szagoruyko/wide-residual-networks, scripts/train_cifar.sh and train.lua",
    ),
    # No augmentation; images are only divided by 255.
    "svhn": NamedRecipe(
        recipe=TrainRecipe(epochs=160, learning_rate=0.01, milestones=(0.5, 0.75), drop=0.1, shift=0, mirror=False),
        source="Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, section 3 (WRN-16-8 with dropout); "
        "github.com/szagoruyko/wide-residual-networks, scripts/train_svhn.sh",
        dropout=0.4,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    ),
    # The code that the paper's ImageNet networks were trained with.
    "imagenet": NamedRecipe(
        recipe=TrainRecipe(
            epochs=90, batch_size=256, weight_decay=1e-4, milestones=(1 / 3, 2 / 3), drop=0.1, shift=0,
            resized_crop=True, jitter=0.4, lighting=0.1,
        ),
        source="github.com/facebookarchive/fb.resnet.torch: opts.lua, train.lua, datasets/imagenet.lua, TRAINING.md",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    # The shape is that of Smith and Topin, Super-Convergence (arXiv:1708.07120), without its last phase.
    "one-cycle": NamedRecipe(
        recipe=TrainRecipe(
            epochs=15, learning_rate=0.2, schedule=LearningRateSchedule.ONE_CYCLE, warm_up=0.25, label_smoothing=0.1
        ),
        source="Smith and Topin's Super-Convergence, arXiv:1708.07120; numbers: docs/reference/training.md",
    ),
}  # fmt: skip


def find_recipe(name: str) -> NamedRecipe:
    """The recipe called `name`, as in `find_recipe("paper").recipe`; UsageError for an unknown name, with near ones."""
    if name in RECIPES:
        return RECIPES[name]
    raise UsageError(f"unknown recipe {name!r}{near_names(name, [*RECIPES])}: expected one of {', '.join(RECIPES)}")
