"""What a model is, as pure data kept in the manifest: names, shapes, preprocessing; the standard library only."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wrn_deploy.errors import DeployError
from wrn_deploy.files.record import from_record

__all__ = [
    "EXPERIMENTAL",
    "IMPORTED",
    "Interface",
    "ModelSpec",
    "Precision",
    "Preprocessing",
    "TensorSpec",
    "Whitening",
]


class Precision(StrEnum):
    """The precision of an artifact: a property of the graph, never a flag of the builder."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    BF16 = "bf16"
    FP8 = "fp8"


EXPERIMENTAL = frozenset({Precision.BF16, Precision.FP8})  # made and measured only on request
IMPORTED = "imported"  # the family of graphs that were exported elsewhere: their bundles have no weights of PyTorch


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a graph; `shape` leaves out the batch, which comes first; `dtype` is numpy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From a decoded RGB image (uint8, HWC) to the network's input (float32, CHW).

    The shorter side is resized to `resize` pixels (None: the image must have the input size already), the
    centre of `height` x `width` is cropped, and each channel becomes (value / 255 - mean) / std.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise DeployError(f"an input of {self.height}x{self.width} pixels: expected at least 1x1")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(math.isfinite(n) for n in numbers):
            raise DeployError(f"mean {self.mean} and std {self.std}: expected three finite numbers each (R, G, B)")
        if min(self.std) <= 0:
            raise DeployError(f"std {self.std}: expected three positive numbers, in units of a 0..1 image")
        if not all(0 <= n <= 1 for n in numbers):
            raise DeployError(
                f"mean {_joined(self.mean)} and std {_joined(self.std)}: expected those of a 0..1 image, from 0 to 1"
                f"{_divided(self.mean, self.std)}"
            )
        if self.resize is not None and self.resize < max(self.height, self.width):
            largest = max(self.height, self.width)
            raise DeployError(f"resize {self.resize}: expected at least {largest}, the network's input")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise DeployError(f"interpolation {self.interpolation!r}: expected bilinear or bicubic")


def _joined(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:.4g}" for number in numbers)


def _divided(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """The remedy for numbers in units of a 0..255 image; "" for numbers that are of none."""
    # A deviation of 1 beside such a mean is in its units too, as Caffe's networks have it.
    units = [255.0 if max(mean) > 1 else 1.0, 255.0 if max(std) >= 1 else 1.0]
    if min(mean) < 0 or max(*mean, *std) > 255:
        return ""
    divided = [_joined(tuple(n / unit for n in numbers)) for numbers, unit in zip((mean, std), units, strict=True)]
    return f"; divide those of a 0..255 image by 255: --mean {divided[0]} --std {divided[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What the graphs of a bundle take and give: the options of `export`.

    Args:
        pixels: they take RGB pixels (uint8, NHWC) and normalise inside; else normalised float32, NCHW.
        top_k: they give the best K classes and their logits, best first; None: all logits.
        features: number of pooled features, the classifier's input, that they also give; 0: none.
        feature_maps: they also give the last tensors of these resolutions, (channels, height, width) each.
    """

    pixels: bool = False
    top_k: int | None = None
    features: int = 0
    feature_maps: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise DeployError(f"the top {self.top_k} classes: expected at least 1")
        if self.features < 0:
            raise DeployError(f"{self.features} features: expected 0 or more")
        sizes = [shape[1:] for shape in self.feature_maps]
        if len(set(sizes)) < len(sizes) or not all(len(shape) == 3 and min(shape) > 0 for shape in self.feature_maps):
            raise DeployError(
                f"feature maps {self.feature_maps}: expected one (channels, height, width) for each resolution"
            )


@dataclass(frozen=True, slots=True)
class Whitening:
    """Global contrast normalisation and ZCA whitening, which a network does before its first layer.

    Mean and matrix are among its weights: `training/whitening.py` fits them, `models/whitening.py` applies them.

    Args:
        images: number of training images they were fitted on.
        scale: the length of an image, as a vector, after contrast normalisation.
        bias: added to each variance (eigenvalue of the covariance) before dividing by its square root.
        min_length: shorter images (in units of 0..1, without their mean) are scaled as if they had this length. With
            256 levels, all but 0 are longer than 0.0039: below that is the rounding of images of one colour.
    """

    images: int
    scale: float = 55.0
    bias: float = 0.1
    min_length: float = 1e-3

    def __post_init__(self) -> None:
        numbers = dataclasses.astuple(self)
        if not all(0 < number < math.inf for number in numbers):
            raise DeployError(f"whitening with images, scale, bias and min_length {numbers}: expected positive numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One network: architecture numbers, classes and preprocessing. Weights are an artifact of their own.

    `family` names a file in `wrn_deploy/models/families`, or is IMPORTED; `depth` and `widen` are d and k of WRN-d-k
    (Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016). `labels` is empty or has one name per class.
    """

    name: str
    family: str
    depth: int
    widen: float
    classes: int
    preprocessing: Preprocessing
    dropout: float = 0.0
    labels: tuple[str, ...] = field(default=(), repr=False)  # often a thousand
    interface: Interface = Interface()
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DeployError(f"{self.classes} classes: expected at least 2")
        if self.labels and len(self.labels) != self.classes:
            raise DeployError(f"{len(self.labels)} labels for {self.classes} classes: expected one label per class")
        if not 0.0 <= self.dropout < 1.0:
            raise DeployError(f"dropout {self.dropout}: expected a probability from 0 up to, but not including, 1")
        top_k = self.interface.top_k
        if top_k is not None and top_k > self.classes:
            raise DeployError(f"the top {top_k} of {self.classes} classes: expected {self.classes} at most")
        mean, std = self.preprocessing.mean, self.preprocessing.std
        if self.whitening is not None and (mean, std) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
            raise DeployError(
                f"mean {mean} and std {std} with whitening: expected 0,0,0 and 1,1,1, since the network whitens images "
                "itself"
            )

    @property
    def core(self) -> ModelSpec:
        """The network alone: normalised float32 in, logits out."""
        return dataclasses.replace(self, interface=Interface())

    @property
    def input(self) -> TensorSpec:
        """What the graphs take: RGB, normalised (NCHW) or as pixels (NHWC); see `Interface`."""
        height, width = self.preprocessing.height, self.preprocessing.width
        if self.interface.pixels:
            return TensorSpec("images", "uint8", (height, width, 3))
        return TensorSpec("images", "float32", (3, height, width))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the graphs give, in this order: see `Interface`."""
        found = [self.output]
        if self.interface.top_k is not None:
            shape = (self.interface.top_k,)
            found = [TensorSpec("top_logits", "float32", shape), TensorSpec("top_classes", "int64", shape)]
        if self.interface.features:
            found.append(TensorSpec("features", "float32", (self.interface.features,)))
        return (*found, *self.feature_maps)

    @property
    def feature_maps(self) -> tuple[TensorSpec, ...]:
        """The feature maps that the graphs give, finest first, each named after its stride in image pixels."""
        height = self.preprocessing.height
        return tuple(
            TensorSpec(f"feature_map_{max(1, round(height / shape[1]))}", "float32", shape)
            for shape in self.interface.feature_maps
        )

    @property
    def output(self) -> TensorSpec:
        """The network's own output: one logit per class."""
        return TensorSpec("logits", "float32", (self.classes,))

    def label(self, index: int) -> str:
        """The name of class `index`, or the index itself if the classes have no names."""
        return self.labels[index] if self.labels else str(index)

    def to_json(self) -> dict[str, Any]:
        """A record of JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: object) -> ModelSpec:
        """Reads what `to_json` wrote; raises DamagedFile for anything else."""
        return from_record(cls, record, "the model's description")
