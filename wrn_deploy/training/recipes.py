"""The training recipes by name, as data with their sources; the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wrn_deploy.errors import UsageError
from wrn_deploy.plugins import near_names
from wrn_deploy.training.recipe import LearningRateSchedule, TrainRecipe

__all__ = ["DEFAULT", "RECIPES", "NamedRecipe", "find_recipe"]

Triple = tuple[float, float, float]


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
    mean: Triple | None = None
    std: Triple | None = None


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
        source="the schedule of Smith and Topin, Super-Convergence, arXiv:1708.07120; numbers: docs/training.md",
    ),
}  # fmt: skip


def find_recipe(name: str) -> NamedRecipe:
    """The recipe called `name`, as in `find_recipe("paper").recipe`; UsageError for an unknown name, with near ones."""
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise UsageError(f"unknown recipe {name!r}{near_names(name, [*RECIPES])}: expected one of {known}")
    return RECIPES[name]
