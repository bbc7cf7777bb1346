"""What a network's description says before it is trained: the data's classes, and mean and deviation of its images."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wrn_deploy.data import ImageSource
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError
from wrn_deploy.models import Overrides, describe_model
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.recipe import Recipe
from wrn_deploy.training.recipes import find_recipe

__all__ = ["Plan", "Reading", "check_classes", "describe_training", "plan_training"]

MEASURED = 10_000  # images that mean and deviation are measured on


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe with the user's changes, and what it and the user change of the network's description."""

    recipe: Recipe
    overrides: Overrides


@dataclass(frozen=True, slots=True)
class Reading:
    """So many corrupt images are left out, and so many processes decode (None: see `choose_workers`)."""

    max_corrupt: MaxCorrupt = 0
    workers: int | None = None


def plan_training(name: str, changes: Mapping[str, Any], overrides: Overrides) -> Plan:
    """The recipe called `name` with `changes` by field (None: none), and its dropout, mean and deviation unless given.

    Raises:
        UsageError: no such recipe, or numbers that cannot be.
    """
    named = find_recipe(name)
    given = {field: value for field, value in changes.items() if value is not None}
    return Plan(
        dataclasses.replace(named.recipe, **given),
        dataclasses.replace(
            overrides,
            dropout=named.dropout if overrides.dropout is None else overrides.dropout,
            mean=overrides.mean or named.mean,
            std=overrides.std or named.std,
        ),
    )


def check_classes(train: ImageSource, test: ImageSource) -> None:
    """An index must mean the same class in both: a folder that lacks a class shifts those behind it."""
    if train.labels and test.labels and train.labels != test.labels:
        pairs = itertools.zip_longest(train.labels, test.labels)
        index, (one, other) = next((index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1])
        raise DeployError(
            f"class {index} is {one} in {train.name} and {other} in {test.name}: expected the same classes in both"
        )


def describe_training(
    model: str, overrides: Overrides, train: ImageSource, reading: Reading, progress: Progress
) -> ModelSpec:
    """The network's description with the data's classes, and its mean and deviation unless they were given."""
    if train.labels and overrides.labels is None and overrides.classes in (None, len(train.labels)):
        overrides = dataclasses.replace(overrides, labels=train.labels)
    spec = overrides.apply(describe_model(model))
    if overrides.mean is not None and overrides.std is not None:
        return spec
    with Decoders(choose_workers(reading.workers, spec.preprocessing, min(len(train), MEASURED))) as decoders:
        batches = Batches(
            train, spec.preprocessing, 256, limit=MEASURED, max_corrupt=reading.max_corrupt, decoders=decoders
        )
        mean, std = _measure_channels(batches, progress)
    return Overrides(mean=overrides.mean or mean, std=overrides.std or std).apply(spec)


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
