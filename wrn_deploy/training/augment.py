"""Augmentation on the training device: draws random changes for each image, and applies them in batched torch ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["Colours", "Moves", "change_colours", "draw_moves", "take_moved"]

# Principal components of ImageNet's colours, of a 0..1 image, and their deviations, as fb.resnet.torch has them
# (datasets/imagenet.lua).
COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
DEVIATIONS = (0.2175, 0.0188, 0.0045)
GREY = (0.299, 0.587, 0.114)
BRIGHTNESS, CONTRAST = 0, 1  # and saturation, 2


@dataclass(frozen=True, slots=True)
class Colours:
    """Changes of colour, one row per image.

    Args:
        order: int64 (N, 3): which of brightness, contrast and saturation comes first, second, third.
        factors: float32 (N, 3): the weight of the image in the first, second, third.
        light: float32 (N, 3): added to red, green and blue at the end.
    """

    order: torch.Tensor
    factors: torch.Tensor
    light: torch.Tensor


@dataclass(frozen=True, slots=True)
class Moves:
    """The augmentation of each image, one row per image.

    Args:
        offsets: int64 (N, 2): shift down and right in pixels, from -shift to shift.
        mirrored: bool (N,).
        colours: None: unchanged.
    """

    offsets: torch.Tensor
    mirrored: torch.Tensor
    colours: Colours | None = None

    def part(self, rows: slice) -> Moves:
        """Some of the rows."""
        return self._map(lambda values: values[rows])

    def to(self, device: torch.device) -> Moves:
        """A copy on a device."""
        return self._map(lambda values: values.to(device))

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Moves:
        colours = self.colours
        if colours is not None:
            colours = Colours(change(colours.order), change(colours.factors), change(colours.light))
        return Moves(change(self.offsets), change(self.mirrored), colours)


def draw_moves(recipe: TrainRecipe, count: int, random: np.random.Generator) -> Moves:
    """Draws on the host, so that every device gets the same numbers. The shifts do not depend on `mirror`."""
    offsets = random.integers(-recipe.shift, recipe.shift + 1, size=(count, 2))
    mirrored = np.less(random.random(count), 0.5 if recipe.mirror else 0.0)
    colours = _draw_colours(recipe, count, random) if recipe.jitter or recipe.lighting else None
    return Moves(torch.from_numpy(offsets), torch.from_numpy(mirrored), colours)


def take_moved(pixels: torch.Tensor, index: torch.Tensor, moves: Moves) -> torch.Tensor:
    """Selects images of `pixels` (uint8, (M, H, W, 3)) and shifts, then mirrors them: (N, H, W, 3).

    Reflection at the outermost pixel, which is not repeated, fills what a shift uncovers; several times if the shift
    is wider than the image.

    Args:
        pixels: the images to select from.
        index: int64 (N,), which of them.
        moves: the augmentation of the N images.
    """
    rows, columns = pixels.shape[1:3]
    down = torch.arange(rows, device=pixels.device)[None] - moves.offsets[:, :1]
    right = torch.arange(columns, device=pixels.device)[None].expand(len(index), columns)
    right = torch.where(moves.mirrored[:, None], columns - 1 - right, right) - moves.offsets[:, 1:]
    return pixels[index[:, None, None], _reflected(down, rows)[:, :, None], _reflected(right, columns)[:, None, :]]


def change_colours(images: torch.Tensor, colours: Colours) -> torch.Tensor:
    """Jitter and lighting as in fb.resnet.torch (datasets/transforms.lua); images float32, (N, H, W, 3), 0..1."""
    grey = torch.tensor(GREY, device=images.device)
    for stage in range(3):
        shade = (images * grey).sum(3, keepdim=True)
        which, kept = (values[:, stage, None, None, None] for values in (colours.order, colours.factors))
        target = torch.where(which == CONTRAST, shade.mean((1, 2), keepdim=True), shade)
        target = torch.where(which == BRIGHTNESS, torch.zeros_like(shade), target)
        images = images * kept + (1 - kept) * target
    return images + colours.light[:, None, None, :]


def _reflected(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Reflects positions below 0 or above `size` - 1."""
    if size == 1:
        return torch.zeros_like(positions)
    return size - 1 - (positions.remainder(2 * (size - 1)) - (size - 1)).abs()


def _draw_colours(recipe: TrainRecipe, count: int, random: np.random.Generator) -> Colours:
    order = random.permuted(np.tile(np.arange(3), (count, 1)), axis=1)
    factors = random.uniform(1 - recipe.jitter, 1 + recipe.jitter, size=(count, 3))
    light = (random.normal(0.0, recipe.lighting, size=(count, 3)) * DEVIATIONS) @ np.array(COMPONENTS).T
    changes = (torch.from_numpy(values.astype(np.float32)) for values in (factors, light))
    return Colours(torch.from_numpy(order), *changes)
