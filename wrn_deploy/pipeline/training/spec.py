"""Describes a network before it is trained, and measures its images: classes, mean and deviation, whitening."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wrn_deploy.data import ImageSource
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides, describe_model
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec, Whitening
from wrn_deploy.training.recipe import TrainRecipe, find_recipe
from wrn_deploy.training.whitening import LIMIT, fit_whitening

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.pipeline.training.train import TrainOptions

__all__ = ["TrainPlan", "check_classes", "describe_training", "fit_network", "plan_training"]

MEASURED = 10_000  # images that mean and deviation are measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPlan:
    """A recipe with the user's changes, and the changes to the network's description."""

    recipe: TrainRecipe
    overrides: Overrides


def plan_training(name: str, changes: Mapping[str, Any], overrides: Overrides) -> TrainPlan:
    """The recipe called `name` with `changes` by field; None keeps the recipe's value.

    `overrides` wins over the recipe's dropout, mean and deviation.

    Example:
        >>> plan_training("paper", {"epochs": 30, "momentum": None}, Overrides()).recipe.epochs
        30

    Raises:
        UsageError: no such recipe, or a value out of its range.
    """
    named = find_recipe(name)
    given = {field: value for field, value in changes.items() if value is not None}
    return TrainPlan(
        recipe=dataclasses.replace(named.recipe, **given),
        overrides=dataclasses.replace(
            overrides,
            dropout=named.dropout if overrides.dropout is None else overrides.dropout,
            mean=overrides.mean or named.mean,
            std=overrides.std or named.std,
        ),
    )


def check_classes(train: ImageSource, test: ImageSource) -> None:
    """Checks that an index means the same class in both: a folder that lacks a class shifts those after it.

    Raises:
        DeployError: a class differs.
    """
    if train.labels and test.labels and train.labels != test.labels:
        pairs = itertools.zip_longest(train.labels, test.labels)
        index, (trained, tested) = next((index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1])
        raise DeployError(
            f"class {index} is {trained} in {train.name} and {tested} in {test.name}: expected the same classes in both"
        )


def describe_training(options: TrainOptions, train: ImageSource, progress: Progress) -> ModelSpec:
    """The network's description with the data's classes, and the data's mean and deviation unless they are given.

    A network that whitens its input takes images of 0..1.

    Raises:
        UsageError: a mean or a deviation is given for a network that whitens.
    """
    overrides = options.overrides
    if options.whiten:
        if overrides.mean is not None or overrides.std is not None:
            raise UsageError(
                "--whiten with a mean or a deviation, from --mean, --std or the recipe: expected one of them; "
                "whitening subtracts its own mean"
            )
        overrides = dataclasses.replace(overrides, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if train.labels and overrides.labels is None and overrides.classes in (None, len(train.labels)):
        overrides = dataclasses.replace(overrides, labels=train.labels)
    spec = overrides.apply(describe_model(options.model))
    if options.whiten:
        return dataclasses.replace(spec, whitening=Whitening(min(len(train), LIMIT)))
    if overrides.mean is not None and overrides.std is not None:
        return spec
    with _open_batches(train, spec, options, size=256, limit=MEASURED) as batches:
        mean, std = _measure_channels(batches, progress)
    return Overrides(mean=overrides.mean or mean, std=overrides.std or std).apply(spec)


def fit_network(
    network: nn.Module, spec: ModelSpec, train: ImageSource, options: TrainOptions, progress: Progress
) -> None:
    """Fits the network's whitening, if it has one, on the training images: one pass, without augmentation."""
    if spec.whitening is None:
        return
    import torch

    count = min(len(train), spec.whitening.images)
    with (
        _open_batches(train, spec, options, size=250, limit=count) as batches,
        progress.task("Fitting the whitening", count) as advance,
    ):
        mean, matrix = fit_whitening((batch.images for batch in batches), spec.whitening, advance)
    whitening = network.get_submodule("whitening")
    whitening.load_state_dict({"mean": torch.from_numpy(mean), "matrix": torch.from_numpy(matrix)})


@contextlib.contextmanager
def _open_batches(
    source: ImageSource, spec: ModelSpec, options: TrainOptions, *, size: int, limit: int
) -> Iterator[Batches]:
    preprocessing, corrupt = spec.preprocessing, options.max_corrupt
    with Decoders(choose_workers(options.workers, preprocessing, min(len(source), limit))) as decoders:
        yield Batches(source, preprocessing, size, limit=limit, max_corrupt=corrupt, decoders=decoders)


def _measure_channels(
    batches: Batches, progress: Progress
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of each channel over training images, in units of a 0..1 image, to 4 decimals."""
    total, squares, count = np.zeros(3), np.zeros(3), 0
    with progress.task("Measuring mean and deviation", len(batches)) as advance:
        for batch in batches:
            pixels = batch.images.reshape(-1, 3).astype(np.float64) / 255.0
            total += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
            count += len(pixels)
            advance(len(batch.images))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-8))
    rounded = [[round(float(value), 4) for value in values] for values in (mean, std)]
    return (rounded[0][0], rounded[0][1], rounded[0][2]), (rounded[1][0], rounded[1][1], rounded[1][2])
