"""Images for the loop: in memory as uint8 if they fit, else streamed; augmented and normalised on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from wrn_deploy.data import ImageSource
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches, scale_and_shift
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.augment import Moves, change_colours, draw_moves, take_moved
from wrn_deploy.training.execution.processes import BatchShard
from wrn_deploy.training.recipe import TrainRecipe
from wrn_deploy.training.sources import CropSource, ShardSource

__all__ = ["CACHE_BYTES", "CachedImages", "DeviceBatch", "ImageOptions", "Images", "StreamedImages", "open_images"]

CACHE_BYTES = 2 * 2**30  # SVHN with its extra images has 1.9 GB of pixels
ORDER, MOVES = 0, 1  # streams of random numbers; apart, so that reading ahead does not change what is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """How images are read, and where they go.

    Args:
        preprocessing: what the network expects.
        classes: labels are 0 to `classes` - 1.
        device: where batches go.
        decoders: processes that decode; None: this one does.
        max_corrupt: leave out up to N corrupt images.
    """

    preprocessing: Preprocessing
    classes: int
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    decoders: Decoders | None = None
    max_corrupt: MaxCorrupt = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBatch:
    """A process's part of a batch, on the device.

    Args:
        images: float32 (N, 3, H, W), normalised, channels last in memory.
        labels: int64 (N,).
        batch_size: the number of images of the batch in all processes together.
    """

    images: torch.Tensor
    labels: torch.Tensor
    batch_size: int


def open_images(
    source: ImageSource,
    options: ImageOptions,
    *,
    cache_bytes: int = CACHE_BYTES,
    advance: Callable[[int], None] | None = None,
) -> Images:
    """Reads all images if their pixels fit into `cache_bytes`, else prepares to stream them.

    Example:
        >>> options = ImageOptions(preprocessing=spec.preprocessing, classes=spec.classes)
        >>> len(open_images(open_data("digits", Role.TEST), options))
        359

    Raises:
        DeployError: an image is unreadable or has a label outside the classes (streamed images: when it is reached).
    """
    if len(source) * options.preprocessing.height * options.preprocessing.width * 3 > cache_bytes:
        return StreamedImages(source=source, options=options)
    pixels, labels = [], []
    batches = Batches(source, options.preprocessing, 256, max_corrupt=options.max_corrupt, decoders=options.decoders)
    for batch in batches:
        _check_labels(batch.labels, options.classes, batch.names)
        pixels.append(torch.from_numpy(batch.images))
        labels.append(torch.from_numpy(batch.labels))
        if advance is not None:
            advance(len(batch.labels))
    return CachedImages(
        name=source.name,
        pixels=torch.cat(pixels).to(options.device),
        labels=torch.cat(labels).to(options.device),
        options=options,
        corrupt=batches.corrupt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedImages:
    """All images on the device, `pixels` uint8 (N, H, W, 3), `labels` int64 (N,); `corrupt` names those left out."""

    name: str
    pixels: torch.Tensor
    labels: torch.Tensor
    options: ImageOptions
    corrupt: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def train_batches(self, recipe: TrainRecipe, epoch: int, shard: BatchShard) -> Iterator[DeviceBatch]:
        """All images in a random order of the epoch, augmented; the last batch may be short."""
        device = self.options.device
        order = torch.from_numpy(_random(recipe, epoch, ORDER).permutation(len(self))).to(device)
        moves = draw_moves(recipe, len(self), _random(recipe, epoch, MOVES)).to(device)
        normalize = _Normalizer(self.options)
        for rows, whole in self._parts(recipe.batch_size, shard):
            index, part = order[rows], moves.part(rows)
            images = normalize(take_moved(self.pixels, index, part), part)
            yield DeviceBatch(images=images, labels=self.labels[index], batch_size=whole)

    def test_batches(self, size: int, shard: BatchShard) -> Iterator[DeviceBatch]:
        """All images in the source's order, unchanged."""
        normalize = _Normalizer(self.options)
        for rows, whole in self._parts(size, shard):
            yield DeviceBatch(images=normalize(self.pixels[rows]), labels=self.labels[rows], batch_size=whole)

    def _parts(self, size: int, shard: BatchShard) -> Iterator[tuple[slice, int]]:
        """This process's rows of each batch, and the size of the whole batch."""
        for first in range(0, len(self), size):
            whole = min(size, len(self) - first)
            own = shard.of(whole)
            yield slice(first + own.start, first + own.stop), whole


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedImages:
    """Images that are decoded again in each epoch, in constant memory; `corrupt` names those the last pass left out."""

    source: ImageSource
    options: ImageOptions
    corrupt: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def __len__(self) -> int:
        """The number of images."""
        return len(self.source)

    def train_batches(self, recipe: TrainRecipe, epoch: int, shard: BatchShard) -> Iterator[DeviceBatch]:
        """All images in the source's random order, augmented; the last batch may be short."""
        order, random = _random(recipe, epoch, ORDER), _random(recipe, epoch, MOVES)
        source, preprocessing = self.source, self.options.preprocessing
        if recipe.resized_crop:
            crops = np.random.default_rng([recipe.seed, epoch, MOVES, 1])
            source = CropSource(source, preprocessing.height, preprocessing.width, crops)
            preprocessing = dataclasses.replace(preprocessing, resize=None)
        normalize, device = _Normalizer(self.options), self.options.device
        for pixels, labels, whole in self._read(source, preprocessing, recipe.batch_size, shard, order):
            moves = draw_moves(recipe, whole, random).part(shard.of(whole)).to(device)
            index = torch.arange(len(labels), device=device)
            images = normalize(take_moved(pixels, index, moves), moves)
            yield DeviceBatch(images=images, labels=labels, batch_size=whole)

    def test_batches(self, size: int, shard: BatchShard) -> Iterator[DeviceBatch]:
        """All images in the source's order, unchanged."""
        normalize = _Normalizer(self.options)
        for pixels, labels, whole in self._read(self.source, self.options.preprocessing, size, shard, None):
            yield DeviceBatch(images=normalize(pixels), labels=labels, batch_size=whole)

    def _read(
        self,
        source: ImageSource,
        preprocessing: Preprocessing,
        size: int,
        shard: BatchShard,
        order: np.random.Generator | None,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        """Pixels and labels of this process on the device, and the size of the whole batch."""
        count, options = len(source), self.options
        if shard.size > 1:
            if options.max_corrupt:
                raise UsageError("--max-corrupt with several processes: expected 0; their batches would differ")
            source = ShardSource(source, shard, size)
        per_process, corrupt = size // shard.size, options.max_corrupt
        batches = Batches(
            source, preprocessing, per_process, order=order, max_corrupt=corrupt, decoders=options.decoders
        )
        for step, batch in enumerate(batches):
            _check_labels(batch.labels, options.classes, batch.names)
            arrays = (torch.from_numpy(array) for array in (batch.images, batch.labels))
            if options.device.type == "cuda":  # pinned memory is copied while the GPU works
                arrays = (array.pin_memory() for array in arrays)
            pixels, labels = (array.to(options.device, non_blocking=True) for array in arrays)
            yield pixels, labels, len(labels) if shard.size == 1 else min(size, count - step * size)
        self.corrupt[:] = batches.corrupt


Images = CachedImages | StreamedImages


class _Normalizer:
    """uint8 NHWC -> normalised float32, channels last; the same numbers as `data.preprocess.normalize`."""

    def __init__(self, options: ImageOptions) -> None:
        scale, shift = scale_and_shift(options.preprocessing)
        self._scale = torch.from_numpy(scale).to(options.device)
        self._shift = torch.from_numpy(shift).to(options.device)

    def __call__(self, pixels: torch.Tensor, moves: Moves | None = None) -> torch.Tensor:
        images = pixels.to(torch.float32)
        if moves is not None and moves.colours is not None:
            images = change_colours(images / 255, moves.colours) * 255
        return images.mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)


def _random(recipe: TrainRecipe, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, epoch, stream])


def _check_labels(labels: np.ndarray[tuple[int], np.dtype[np.int64]], classes: int, names: tuple[str, ...]) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        label, name = int(labels[outside[0]]), names[outside[0]]
        found = "no label" if label < 0 else f"label {label}"
        raise DeployError(f"{name} has {found}: expected 0 to {classes - 1}; set --classes, or fix the data")
