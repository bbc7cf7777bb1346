"""The training step: a network trained on a data set, resumable, with one JSON line an epoch."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.training.loop import Epoch

__all__ = ["TrainOptions", "TrainResult", "train_model"]

MEASURED = 10_000  # images that mean and deviation are measured on
LOG, STATE, WEIGHTS = "log.jsonl", "checkpoint.safetensors", "weights.safetensors"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train, on what; `test_data` None: the data set's own test images."""

    model: str
    data: str
    out: Path
    recipe: Recipe
    test_data: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    resume: bool = False


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where the weights are, and how good they are: top-1 (0..1) on the test images."""

    weights: Path
    epochs: int
    test_top1: float
    test_images: int


def train_model(options: TrainOptions, progress: Progress) -> TrainResult:
    """Trains, and writes `weights.safetensors`, `checkpoint.safetensors` and `log.jsonl` into `options.out`.

    The mean and deviation that images are normalised with are measured on the training images, as in the paper, and
    travel with the weights, as do the names of the classes.

    Raises:
        UsageError: the folder holds a run already and `resume` is off, or the other way round, or other weights.
        DeployError: unusable data, or a checkpoint of another run.
        MachineError: torch or safetensors is missing.
    """
    _check_folder(options)
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "training a network")
    train = open_data(options.data, Role.TRAIN)
    test = open_data(options.test_data or options.data, Role.TEST)
    _check_classes(train, test)
    spec = _spec(options, train, progress)
    recipe = dataclasses.replace(options.recipe, mirror=options.recipe.mirror and train.mirror)
    return _run(dataclasses.replace(options, recipe=recipe), spec, (train, test), progress)


def _run(
    options: TrainOptions, spec: ModelSpec, data: tuple[ImageSource, ImageSource], progress: Progress
) -> TrainResult:
    import torch

    from wrn_deploy.training.checkpoint import Standing, restore_checkpoint, save_checkpoint
    from wrn_deploy.training.loop import Trainer

    train, test = data
    torch.manual_seed(options.recipe.seed)
    trainer = Trainer(build_model(spec), options.recipe, spec.preprocessing, train, test)
    standing = Standing(spec, options.recipe, Path(train.name).name, Path(test.name).name)
    history = list(restore_checkpoint(options.out / STATE, trainer, standing)) if options.resume else []
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / LOG).write_text("".join(map(_line, history)), encoding="utf-8")  # a kill may have left it behind
    total = (options.recipe.epochs - len(history)) * (len(train) + len(test))
    title = f"Training {spec.name} on {Path(train.name).name} ({len(train)} images, {options.recipe.epochs} epochs)"
    with progress.task(title, total) as advance:
        for epoch in trainer.run(len(history), advance):
            history.append(epoch)
            save_checkpoint(options.out / STATE, trainer, dataclasses.replace(standing, history=tuple(history)))
            _log(options.out / LOG, epoch, progress)
    _write_final(trainer.network, spec, options.out / WEIGHTS)
    return TrainResult(options.out / WEIGHTS, options.recipe.epochs, history[-1].test_top1, len(test))


def _check_folder(options: TrainOptions) -> None:
    out, state = options.out, options.out / STATE
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: expected a folder for the training run; choose another --out")
    if state.exists() != options.resume:
        expected = "pass --resume to go on, or choose another --out" if state.exists() else "leave --resume out"
        raise UsageError(f"{out} holds {'a' if state.exists() else 'no'} training run: {expected}")
    if (out / WEIGHTS).exists() and not state.exists():  # a bundle, say
        raise UsageError(f"{out} holds {WEIGHTS} of something else: choose another --out")


def _check_classes(train: ImageSource, test: ImageSource) -> None:
    """An index must mean the same class in both: a folder that lacks a class shifts those behind it."""
    if train.labels and test.labels and train.labels != test.labels:
        pairs = itertools.zip_longest(train.labels, test.labels)
        index, (one, other) = next((index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1])
        raise DeployError(
            f"class {index} is {one} in {train.name} and {other} in {test.name}: expected the same classes in both"
        )


def _spec(options: TrainOptions, train: ImageSource, progress: Progress) -> ModelSpec:
    """The network's description with the data's classes, and its mean and deviation unless they were given."""
    overrides = options.overrides
    if train.labels and overrides.labels is None and overrides.classes in (None, len(train.labels)):
        overrides = dataclasses.replace(overrides, labels=train.labels)
    spec = overrides.apply(describe_model(options.model))
    if overrides.mean is not None and overrides.std is not None:
        return spec
    mean, std = _measure_channels(train, spec, progress)
    return Overrides(mean=overrides.mean or mean, std=overrides.std or std).apply(spec)


def _measure_channels(
    train: ImageSource, spec: ModelSpec, progress: Progress
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of each channel over the training images, in units of a 0..1 image, to 4 decimals."""
    batches = Batches(train, spec.preprocessing, 256, limit=MEASURED)
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


def _log(file: Path, epoch: Epoch, progress: Progress) -> None:
    with file.open("a", encoding="utf-8") as log:
        log.write(_line(epoch))
    progress.note(
        f"epoch {epoch.epoch + 1}: loss {epoch.loss:.4f}, top-1 {100 * epoch.train_top1:.2f} % in training, "
        f"{100 * epoch.test_top1:.2f} % on test images"
    )


def _line(epoch: Epoch) -> str:
    return json.dumps(dataclasses.asdict(epoch)) + "\n"


def _write_final(network: nn.Module, spec: ModelSpec, file: Path) -> None:
    from wrn_deploy.models.weights import write_weights

    written = file.with_suffix(".tmp")
    write_weights(network, spec, written)
    written.replace(file)
