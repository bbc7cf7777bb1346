"""Images for the loop: in memory as uint8 where they fit, else streamed; augmented and normalised on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from wrn_deploy.data import ImageSource
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches, scale_and_shift
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.augment import Moves, change_colours, draw_moves, take_moved
from wrn_deploy.training.execution.sharding import Share, ShareSource
from wrn_deploy.training.recipe import Recipe
from wrn_deploy.training.resized_crop import CropSource

__all__ = ["HELD_BYTES", "HeldImages", "Images", "Ready", "StreamedImages", "Target", "open_images"]

HELD_BYTES = 2 * 2**30  # pixels that are kept in memory: SVHN with its extra images are 1.9 GB
ORDER, MOVES = 0, 1  # streams of random numbers; apart, so that reading ahead does not change what is drawn


@dataclass(frozen=True, slots=True)
class Target:
    """What the images are for, and how they are read.

    Args:
        how: the preprocessing.
        classes: labels are below it.
        device: where batches are wanted.
        decoders: processes that decode; None: this one does.
        max_corrupt: so many corrupt images are left out.
    """

    how: Preprocessing
    classes: int
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    decoders: Decoders | None = None
    max_corrupt: MaxCorrupt = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """A process's part of a batch, on the device.

    Args:
        images: float32 (N, 3, H, W), normalised, channels last in memory.
        labels: int64 (N,).
        whole: the images of the batch in all processes together.
    """

    images: torch.Tensor
    labels: torch.Tensor
    whole: int


class Images(Protocol):
    """A data set for training or testing."""

    @property
    def corrupt(self) -> list[str]:
        """The images that the last pass left out."""

    @property
    def name(self) -> str:
        """What it is called."""

    def __len__(self) -> int:
        """The number of images."""

    def train_batches(self, recipe: Recipe, epoch: int, share: Share) -> Iterator[Ready]:
        """All images in the epoch's own order, augmented; the last batch may be short."""

    def test_batches(self, size: int, share: Share) -> Iterator[Ready]:
        """All images in the source's order, as they are."""


def open_images(
    source: ImageSource, target: Target, *, held_bytes: int = HELD_BYTES, advance: Callable[[int], None] | None = None
) -> Images:
    """Reads all images if their pixels are no more than `held_bytes`, else prepares to stream them.

    Raises:
        DeployError: an image is unreadable or has a label outside the classes (streamed images: when it is reached).
    """
    if len(source) * target.how.height * target.how.width * 3 > held_bytes:
        return StreamedImages(source, target)
    pixels, labels = [], []
    batches = Batches(source, target.how, 256, max_corrupt=target.max_corrupt, decoders=target.decoders)
    for batch in batches:
        _check_labels(batch.labels, target.classes, batch.names)
        pixels.append(torch.from_numpy(batch.images))
        labels.append(torch.from_numpy(batch.labels))
        if advance is not None:
            advance(len(batch.labels))
    whole = torch.cat(pixels).to(target.device), torch.cat(labels).to(target.device)
    return HeldImages(source.name, *whole, target, batches.corrupt)


@dataclass(frozen=True, slots=True)
class HeldImages:
    """All images on the device, `pixels` uint8 (N, H, W, 3), `labels` int64 (N,)."""

    name: str
    pixels: torch.Tensor
    labels: torch.Tensor
    target: Target
    corrupt: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def train_batches(self, recipe: Recipe, epoch: int, share: Share) -> Iterator[Ready]:
        """See `Images`: a uniformly random order."""
        device = self.target.device
        order = torch.from_numpy(_random(recipe, epoch, ORDER).permutation(len(self))).to(device)
        moves = draw_moves(recipe, len(self), _random(recipe, epoch, MOVES)).to(device)
        finish = _Finish(self.target)
        for first in range(0, len(self), recipe.batch_size):
            whole = min(recipe.batch_size, len(self) - first)
            own = share.of(whole)
            which = slice(first + own.start, first + own.stop)
            index, part = order[which], moves.part(which)
            yield Ready(finish(take_moved(self.pixels, index, part), part), self.labels[index], whole)

    def test_batches(self, size: int, share: Share) -> Iterator[Ready]:
        """See `Images`."""
        finish = _Finish(self.target)
        for first in range(0, len(self), size):
            whole = min(size, len(self) - first)
            own = share.of(whole)
            which = slice(first + own.start, first + own.stop)
            yield Ready(finish(self.pixels[which]), self.labels[which], whole)


@dataclass(frozen=True, slots=True)
class StreamedImages:
    """Images that are decoded anew in each epoch, in constant memory."""

    source: ImageSource
    target: Target
    corrupt: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def __len__(self) -> int:
        """The number of images."""
        return len(self.source)

    def train_batches(self, recipe: Recipe, epoch: int, share: Share) -> Iterator[Ready]:
        """See `Images`: the source's random order."""
        order, random = _random(recipe, epoch, ORDER), _random(recipe, epoch, MOVES)
        source, how = self.source, self.target.how
        if recipe.resized_crop:
            crops = np.random.default_rng([recipe.seed, epoch, MOVES, 1])
            source = CropSource(source, how.height, how.width, crops, source.name, source.labels, source.mirror)
            how = dataclasses.replace(how, resize=None)
        finish, device = _Finish(self.target), self.target.device
        for pixels, labels, whole in self._read(source, how, recipe.batch_size, share, order):
            moves = draw_moves(recipe, whole, random).part(share.of(whole)).to(device)
            index = torch.arange(len(labels), device=device)
            yield Ready(finish(take_moved(pixels, index, moves), moves), labels, whole)

    def test_batches(self, size: int, share: Share) -> Iterator[Ready]:
        """See `Images`."""
        finish = _Finish(self.target)
        for pixels, labels, whole in self._read(self.source, self.target.how, size, share, None):
            yield Ready(finish(pixels), labels, whole)

    def _read(
        self, source: ImageSource, how: Preprocessing, size: int, share: Share, order: np.random.Generator | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        """Pixels and labels of this process on the device, and the size of the whole batch."""
        count, target = len(source), self.target
        if share.size > 1:
            if target.max_corrupt:
                raise UsageError(
                    "--max-corrupt with several processes: expected 0; their batches would not be the same"
                )
            source = ShareSource(source, share, size, source.name, source.labels, source.mirror)
        batches = Batches(
            source, how, size // share.size, order=order, max_corrupt=target.max_corrupt, decoders=target.decoders
        )
        for step, batch in enumerate(batches):
            _check_labels(batch.labels, self.target.classes, batch.names)
            arrays = torch.from_numpy(batch.images), torch.from_numpy(batch.labels)
            if self.target.device.type == "cuda":  # pinned memory is copied while the GPU works
                arrays = arrays[0].pin_memory(), arrays[1].pin_memory()
            pixels, labels = (array.to(self.target.device, non_blocking=True) for array in arrays)
            yield pixels, labels, len(labels) if share.size == 1 else min(size, count - step * size)
        self.corrupt[:] = batches.corrupt


class _Finish:
    """From uint8 NHWC to normalised float32, channels last, the same numbers as `data.preprocess.normalize`."""

    def __init__(self, target: Target) -> None:
        scale, shift = scale_and_shift(target.how)
        self._scale = torch.from_numpy(scale).to(target.device)
        self._shift = torch.from_numpy(shift).to(target.device)

    def __call__(self, pixels: torch.Tensor, moves: Moves | None = None) -> torch.Tensor:
        images = pixels.to(torch.float32)
        if moves is not None and moves.colours is not None:
            images = change_colours(images / 255, moves.colours) * 255
        return images.mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)


def _random(recipe: Recipe, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, epoch, stream])


def _check_labels(labels: np.ndarray[tuple[int], np.dtype[np.int64]], classes: int, names: tuple[str, ...]) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        label, name = int(labels[outside[0]]), names[outside[0]]
        found = "no label" if label < 0 else f"label {label}"
        raise DeployError(f"{name} has {found}: expected 0 to {classes - 1}; set --classes, or mend the data")
