"""The training recipe of the WRN paper as data, and its augmentation; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import UsageError

__all__ = ["Recipe", "augment"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """SGD with Nesterov momentum and a step schedule (Zagoruyko and Komodakis, BMVC 2016, section 3).

    The learning rate is multiplied by `drop` at each of `milestones`, given as shares of `epochs`: with the paper's 200
    epochs these are epochs 60, 120 and 160. `shift` is the padding, in pixels, that random crops are taken from. The
    epochs' random numbers come from `seed`, 0 to 2**63 - 1.
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

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of `epoch`, counted from 0."""
        passed = sum(epoch / self.epochs >= share for share in self.milestones)
        return float(self.learning_rate * self.drop**passed)


def augment(images: npt.NDArray[np.uint8], recipe: Recipe, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Mirrors half of the images and shifts each by up to `recipe.shift` pixels, filled by reflection.

    Args:
        images: uint8, (N, H, W, 3); not changed.
        recipe: whether to mirror, and how far to shift.
        random: where the randomness comes from.
    """
    count, rows, columns = images.shape[:3]
    border = ((0, 0), (recipe.shift, recipe.shift), (recipe.shift, recipe.shift), (0, 0))
    padded = np.pad(images, border, mode="reflect")
    offsets = random.integers(0, 2 * recipe.shift + 1, size=(count, 2))
    mirrored = np.less(random.random(count), 0.5 if recipe.mirror else 0.0)
    shifted = np.empty_like(images)
    for index, (top, left) in enumerate(offsets):
        crop = padded[index, top : top + rows, left : left + columns]
        shifted[index] = crop[:, ::-1] if mirrored[index] else crop
    return shifted
