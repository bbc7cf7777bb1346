"""Turns images of any size into the network's input, and a source into batches; numpy and Pillow only."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import CorruptImage, ImageSource, Item
from wrn_deploy.data.corrupt import MaxCorrupt, Percent, count_allowed
from wrn_deploy.data.decoding.decoders import Decoders, Outcome
from wrn_deploy.data.decoding.kept import KeptDecoders
from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.spec import Preprocessing, TensorSpec

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["RESIZED_WHOLE", "Batch", "Batches", "as_input", "fit_image", "fit_item", "normalize", "scale_and_shift"]


# Pixels after the resize, up to which the whole image is resized and then cropped, as torchvision does. Of larger ones,
# 256 times as long as it is high at 256, only the crop is computed, so that memory does not grow with the length. Some
# values differ a little then, as Pillow keeps the place of a part as float32.
RESIZED_WHOLE = 2**24


def fit_image(image: npt.NDArray[np.uint8], preprocessing: Preprocessing, name: str) -> npt.NDArray[np.uint8]:
    """Resizes the shorter side of an image (RGB, uint8, HWC) and crops the centre; `name` is for the error.

    The pixels are those of torchvision's Resize and CenterCrop on a Pillow image, with which published weights
    were measured: the longer side is rounded down, and half a pixel of the crop to even.

    Raises:
        DeployError: without `preprocessing.resize`, the image does not have the network's input size.
    """
    rows, columns = image.shape[:2]
    if preprocessing.resize is None:
        if (rows, columns) != (preprocessing.height, preprocessing.width):
            raise DeployError(
                f"{name} is {columns}x{rows} pixels: expected {preprocessing.width}x{preprocessing.height}, the size "
                f"this model was trained on; resize it first, or export the model with `--resize "
                f"{preprocessing.height}` to resize every image"
            )
        return image
    from PIL import Image

    return _fit_picture(Image.fromarray(image), preprocessing)


def fit_item(item: Item, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Decodes an item, and resizes and crops it as `fit_image` does.

    Raises:
        CorruptImage: it cannot be decoded.
        DeployError: without `preprocessing.resize`, it does not have the network's input size.
    """
    from wrn_deploy.data.decoding.decode import Encoded

    if preprocessing.resize is not None and isinstance(item.load, Encoded):
        return _fit_picture(item.load.picture(), preprocessing)
    return fit_image(item.load(), preprocessing, item.name)


def _fit_picture(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    from PIL import Image

    assert preprocessing.resize is not None
    budget().check("pixels", preprocessing.width * preprocessing.height, "the network's input")
    short = min(image.size)
    width, height = (side * preprocessing.resize // short for side in image.size)
    width, height = max(preprocessing.width, width), max(preprocessing.height, height)
    method = Image.Resampling.BICUBIC if preprocessing.interpolation == "bicubic" else Image.Resampling.BILINEAR
    left, top = round((width - preprocessing.width) / 2), round((height - preprocessing.height) / 2)
    right, bottom = left + preprocessing.width, top + preprocessing.height
    if width * height > RESIZED_WHOLE:
        across, down = image.width / width, image.height / height
        box = (left * across, top * down, min(image.width, right * across), min(image.height, bottom * down))
        resized = image.resize((preprocessing.width, preprocessing.height), method, box)
    else:
        resized = image.resize((width, height), method).crop((left, top, right, bottom))
    return np.asarray(resized, dtype=np.uint8)


def normalize(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Computes (value / 255 - mean) / std per channel: uint8 NHWC -> float32 NCHW, contiguous."""
    scale, shift = scale_and_shift(preprocessing)
    count, height, width, channels = images.shape
    normalized = np.empty((count, channels, height, width), dtype=np.float32)
    for channel in range(channels):  # takes a quarter of the time of whole images, which would be copied twice
        plane = normalized[:, channel]
        np.multiply(images[..., channel], scale[channel], out=plane)
        plane += shift[channel]
    return normalized


def scale_and_shift(preprocessing: Preprocessing) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns a pixel's factor and the summand, (3,) each; computed in float64 and rounded once."""
    std = np.asarray(preprocessing.std, dtype=np.float64)
    shift = -np.asarray(preprocessing.mean, dtype=np.float64) / std
    return (1.0 / (255.0 * std)).astype(np.float32), shift.astype(np.float32)


def as_input(
    images: npt.NDArray[np.uint8], preprocessing: Preprocessing, source: TensorSpec
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Returns pixels (uint8 NHWC) as a graph or plan with the input `source` takes them: unchanged, or normalised."""
    return images if source.dtype == "uint8" else normalize(images, preprocessing)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some images of a source, resized but not normalised: `images` uint8 NHWC; `labels` int64, -1 for none."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(slots=True)
class Batches:
    """Iterates over a source in batches of `size`, in constant memory; the last batch may be smaller.

    Attributes:
        limit: stop after this number of images; None: all.
        order: draws a random order; None: the source's own.
        max_corrupt: more corrupt images than this are an error.
        aligned: every `size` images of the source make a batch: one with a corrupt image is smaller, and those after it
            have the same images as without it.
        corrupt: the names of those that were left out.
        decoders: its processes decode, to the same batches, to the last bit. None: this process decodes, which an image
            that makes native code crash ends.
    """

    source: ImageSource
    preprocessing: Preprocessing
    size: int
    _: KW_ONLY
    limit: int | None = None
    order: np.random.Generator | None = None
    max_corrupt: MaxCorrupt = 0
    aligned: bool = False
    corrupt: list[str] = field(default_factory=list)
    decoders: Decoders | KeptDecoders | None = None

    def __iter__(self) -> Iterator[Batch]:
        self.corrupt = []
        taken = 0
        with contextlib.closing(self._images()) as images:
            wanted = images if self.aligned else (found for found in images if found is not None)
            while group := list(itertools.islice(wanted, self._next_size(taken))):
                decoded = [found for found in group if found is not None]
                taken += len(decoded)
                if decoded:
                    labels = np.array([-1 if item.label is None else item.label for item, _ in decoded], dtype=np.int64)
                    names = tuple(item.name for item, _ in decoded)
                    yield Batch(np.stack([image for _, image in decoded]), labels, names)
        if not taken:
            raise DeployError(f"{self.source.name} has no readable image: expected at least one")

    def __len__(self) -> int:
        """The number of images, if none is corrupt."""
        return len(self.source) if self.limit is None else min(self.limit, len(self.source))

    def _next_size(self, taken: int) -> int:
        return self.size if self.limit is None else min(self.size, self.limit - taken)

    def _images(self) -> Generator[tuple[Item, npt.NDArray[np.uint8]] | None]:
        """The images; None for one that was left out."""
        for item, outcome in self._outcomes():
            if isinstance(outcome, CorruptImage):
                self._leave_out(item, outcome)
                yield None
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                yield item, outcome

    def _outcomes(self) -> Iterator[tuple[Item, Outcome]]:
        """Decodes at most as many images as may be needed."""
        max_items = None if self.limit is None else self.limit + count_allowed(self.max_corrupt, len(self))
        items = itertools.islice(self.source.items(self.order), max_items)
        if self.decoders is not None:
            yield from self.decoders.fit(items, self.preprocessing)
            return
        for item in items:
            try:
                yield item, fit_item(item, self.preprocessing)
            except CorruptImage as error:
                yield item, error

    def _leave_out(self, item: Item, error: CorruptImage) -> None:
        self.corrupt.append(item.name)
        allowed = count_allowed(self.max_corrupt, len(self))
        if len(self.corrupt) > allowed:
            total = f" of {len(self)}" if isinstance(self.max_corrupt, Percent) else ""
            raise DeployError(
                f"{error}; {len(self.corrupt)} corrupt, {allowed or 'none'} allowed{total}: fix or remove it, or skip "
                "up to N such images with --max-corrupt N, or X% of all with --max-corrupt X%"
            ) from error
