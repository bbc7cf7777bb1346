"""The features of images, as a network's classifier reads them or as maps: from a bundle or a network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wrn_deploy.data.any_image import AnyImage, fit_images
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.inference.models import ExtraOutput, LoadedModel, ModelLike, images_together, open_model
from wrn_deploy.runtime.backend import Array
from wrn_deploy.spec import ModelSpec, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["extract_features", "extract_maps"]

Features: TypeAlias = npt.NDArray[np.float32]
Given: TypeAlias = "AnyImage | Sequence[AnyImage] | npt.NDArray[np.float32] | torch.Tensor"


def extract_features(
    model: ModelLike, images: Given, backend: str | None, precision: Precision | str | None
) -> Features:
    """The pooled features of each image, (N, F) float32.

    Args:
        model: as in `open_model`.
        images: an image, several, or uint8 (N, height, width, 3): these are fitted to the network; or what it takes, a
            batch of normalised float32 (N, 3, H, W), as an array or a tensor.
        backend: for a bundle, as `Runner.open`.
        precision: likewise.

    Raises:
        UsageError: there is no image.
        DeployError: the bundle gives no features; an image cannot be read; a feature is not finite.
        MachineError: this machine cannot run what was asked for.
    """
    with open_model(model, backend, precision, ExtraOutput.FEATURES) as opened:
        (features,) = _collect(opened, images, ("features",))
    return features


def extract_maps(
    model: ModelLike, images: Given, backend: str | None, precision: Precision | str | None
) -> tuple[Features, ...]:
    """The feature maps of each image, finest first, (N, channels, height, width) float32 each; else as the features."""
    with open_model(model, backend, precision, ExtraOutput.FEATURE_MAPS) as opened:
        return _collect(opened, images, tuple(output.name for output in opened.spec.feature_maps))


def _collect(opened: LoadedModel, images: Given, names: tuple[str, ...]) -> tuple[Features, ...]:
    batches = [opened.run(batch) for batch in _batches(images, opened.spec)]
    if not batches:
        raise UsageError("no images to extract features of: expected one at least")
    found = tuple(np.concatenate([results[name] for results in batches]) for name in names)
    for features in found:
        wrong = np.flatnonzero(~np.isfinite(features).reshape(len(features), -1).all(axis=1))
        if len(wrong):
            raise DeployError(
                f"the network gives NaN or infinite features for image {wrong[0]}: expected finite ones; try fp32"
            )
    return found


def _batches(images: Any, spec: ModelSpec) -> Iterator[Array]:
    size = images_together(spec)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images, torch.Tensor):
        images = images.detach().cpu().numpy()
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.dtype != np.uint8:
        yield from (images[start : start + size] for start in range(0, len(images), size))
        return
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = tuple(images)
    given = images if isinstance(images, list | tuple) else (images,)
    yield from (pixels for _, pixels in fit_images(given, spec.preprocessing, size))
