"""Whitening in training: describes a network that whitens, and fits the whitening on the training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wrn_deploy.data import ImageSource
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.training.spec import ReadOptions, describe_training
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec, Whitening
from wrn_deploy.training.whitening import LIMIT, fit_whitening

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

__all__ = ["describe_whitened", "fit_network"]

BATCH = 250  # images


def describe_whitened(
    model: str, overrides: Overrides, train: ImageSource, reading: ReadOptions, progress: Progress
) -> ModelSpec:
    """As `describe_training`, for a network that whitens its input and so takes images of 0..1.

    Raises:
        UsageError: a mean or a deviation is given too.
    """
    if overrides.mean is not None or overrides.std is not None:
        raise UsageError(
            "--whiten with a mean or a deviation, from --mean, --std or the recipe: expected one of them; whitening "
            "subtracts a mean of its own"
        )
    changes = dataclasses.replace(overrides, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    spec = describe_training(model, changes, train, reading, progress)
    return dataclasses.replace(spec, whitening=Whitening(min(len(train), LIMIT)))


def fit_network(
    network: nn.Module, spec: ModelSpec, train: ImageSource, reading: ReadOptions, progress: Progress
) -> None:
    """Fits the network's whitening, if it has one, on the training images: one pass, without augmentation."""
    if spec.whitening is None:
        return
    import torch

    count, preprocessing = min(len(train), spec.whitening.images), spec.preprocessing
    with Decoders(choose_workers(reading.workers, preprocessing, count)) as decoders:
        batches = Batches(train, preprocessing, BATCH, limit=count, max_corrupt=reading.max_corrupt, decoders=decoders)
        with progress.task("Fitting the whitening", count) as advance:
            mean, matrix = fit_whitening(_pixels(batches), spec.whitening, advance)
    whitening = network.get_submodule("whitening")
    whitening.load_state_dict({"mean": torch.from_numpy(mean), "matrix": torch.from_numpy(matrix)})


def _pixels(batches: Batches) -> Iterator[npt.NDArray[np.uint8]]:
    for batch in batches:
        yield batch.images
