"""The training step: a network trained on a data set, resumable, with one JSON line an epoch."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.models import Overrides, build_model
from wrn_deploy.pipeline.training.record import (
    LOG,
    RUN,
    append_epoch,
    begin_log,
    describe_session,
    note_epoch,
    write_run,
)
from wrn_deploy.pipeline.training.spec import Reading, check_classes, describe_training
from wrn_deploy.pipeline.training.whiten import describe_whitened, fit_network
from wrn_deploy.progress import Progress, Silent
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.execution.options import Execution
from wrn_deploy.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.training.checkpoint import Standing
    from wrn_deploy.training.execution.device import Place
    from wrn_deploy.training.images import Images, Target
    from wrn_deploy.training.loop import Epoch, Trainer

__all__ = ["BEST", "LOG", "RUN", "STATE", "WEIGHTS", "TrainOptions", "TrainResult", "train_model"]

STATE, WEIGHTS, BEST = "checkpoint.safetensors", "weights.safetensors", "best.safetensors"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train, on what; `test_data` None: the data set's own test images; `whiten`: by GCN and ZCA."""

    model: str
    data: str
    out: Path
    recipe: Recipe
    test_data: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    resume: bool = False
    execution: Execution = field(default_factory=Execution)
    max_corrupt: MaxCorrupt = 0
    workers: int | None = None
    whiten: bool = False


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where the weights are, and how good they are: top-1 (0..1) on the test images, of the last and the best epoch.

    `process` counts the processes that train together from 0; the first one writes the files.
    """

    weights: Path
    epochs: int
    test_top1: float
    test_images: int
    best: Path
    best_epoch: int
    best_top1: float
    seconds: float
    process: int


def train_model(options: TrainOptions, progress: Progress) -> TrainResult:
    """Trains, and writes into `options.out`.

    - `weights.safetensors`: after the last epoch, when the run is done;
    - `best.safetensors`: after the epoch with the best top-1 on the test images. The epoch is chosen by these very
      images, so its figure flatters: it is for comparing, and the last is what is deployed;
    - `checkpoint.safetensors`, `log.jsonl` and `run.json`.

    The mean and deviation that images are normalised with are measured on the training images, as in the paper, and
    travel with the weights, as do the names of the classes.

    Raises:
        UsageError: the folder holds a run already and `resume` is off, or the other way round, or other weights.
        DeployError: unusable data, or a checkpoint of another run.
        MachineError: a package, or the GPU that was asked for, is missing.
    """
    _check_folder(options)
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "training a network")
    from wrn_deploy.training.execution.device import open_place

    place = open_place(options.execution)
    if place.team.share.rank:
        progress = Silent()
    if place.caution is not None:
        progress.warn(place.caution)
    train = open_data(options.data, Role.TRAIN)
    test = open_data(options.test_data or options.data, Role.TEST)
    check_classes(train, test)
    reading = Reading(options.max_corrupt, options.workers)
    describe = describe_whitened if options.whiten else describe_training
    spec = describe(options.model, options.overrides, train, reading, progress)
    recipe = dataclasses.replace(options.recipe, mirror=options.recipe.mirror and train.mirror)
    result = _run(dataclasses.replace(options, recipe=recipe), spec, (train, test), place, progress)
    place.team.end()
    return result


def _run(
    options: TrainOptions, spec: ModelSpec, sources: tuple[ImageSource, ImageSource], place: Place, progress: Progress
) -> TrainResult:
    import torch

    from wrn_deploy.training.checkpoint import Standing, restore_checkpoint
    from wrn_deploy.training.images import Target
    from wrn_deploy.training.loop import Trainer

    torch.manual_seed(options.recipe.seed)
    network = build_model(spec)
    if not options.resume:
        fit_network(network, spec, sources[0], Reading(options.max_corrupt, options.workers), progress)
    standing = Standing(spec, options.recipe, Path(sources[0].name).name, Path(sources[1].name).name)
    with Decoders(choose_workers(options.workers, spec.preprocessing, len(sources[0]))) as decoders:
        target = Target(spec.preprocessing, spec.classes, place.device, decoders, options.max_corrupt)
        train, test = (_open_images(source, target, progress) for source in sources)
        trainer = Trainer(network, options.recipe, train, test, place)
        history = restore_checkpoint(options.out / STATE, trainer, standing) if options.resume else ()
        standing = dataclasses.replace(standing, history=history)
        images = (len(train), len(test))
        if place.team.share.rank == 0:
            _begin(options.out, trainer, standing, images, progress)
        standing = _train(options.out, trainer, standing, images, progress)
    return _result(options.out, standing, images[1], place.team.share.rank)


def _result(out: Path, standing: Standing, test_images: int, process: int) -> TrainResult:
    history, best = standing.history, _best(standing.history)
    seconds = round(sum(epoch.seconds or 0.0 for epoch in history), 1)
    return TrainResult(
        out / WEIGHTS, len(history), history[-1].test_top1, test_images,
        best=out / BEST, best_epoch=best.epoch, best_top1=best.test_top1, seconds=seconds, process=process,
    )  # fmt: skip


def _train(out: Path, trainer: Trainer, standing: Standing, images: tuple[int, int], progress: Progress) -> Standing:
    """Trains to the end; the first process writes a checkpoint and a line after each epoch."""
    from wrn_deploy.training.checkpoint import save_checkpoint

    recipe, spec, first = standing.recipe, standing.spec, len(standing.history)
    title = f"Training {spec.name} on {standing.train} ({images[0]} images, {recipe.epochs} epochs)"
    writes = trainer.place.team.share.rank == 0
    with progress.task(title, (recipe.epochs - first) * sum(images)) as advance:
        for epoch in trainer.run(first, advance):
            standing = dataclasses.replace(standing, history=(*standing.history, epoch))
            if writes:
                save_checkpoint(out / STATE, trainer, standing)
                _keep_best(out, trainer.network, standing)
                append_epoch(out, epoch)
            note_epoch(standing.history[first:], recipe.epochs, progress)
    if writes:
        _write_weights(trainer.network, spec, out / WEIGHTS)
    return standing


def _begin(out: Path, trainer: Trainer, standing: Standing, images: tuple[int, int], progress: Progress) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if len(standing.history) == standing.recipe.epochs:  # nothing is left to be done
        begin_log(out, standing.history)
        return
    session = describe_session(trainer.place, len(standing.history))
    data = {
        "train": {"name": standing.train, "images": images[0]},
        "test": {"name": standing.test, "images": images[1]},
    }
    differing = write_run(out, standing, data, session)
    if differing:
        progress.warn(f"the run was begun with other conditions ({'; '.join(differing)}): it goes on, not bit for bit")
    begin_log(out, standing.history)
    if standing.history:  # a kill may have come between the checkpoint and this
        _keep_best(out, trainer.network, standing)


def _open_images(source: ImageSource, target: Target, progress: Progress) -> Images:
    from wrn_deploy.training.images import open_images

    with progress.task(f"Reading {Path(source.name).name}", len(source)) as advance:
        images = open_images(source, target, advance=advance)
    _tell_corrupt(images, progress)
    return images


def _tell_corrupt(images: Images, progress: Progress) -> None:
    if images.corrupt:
        progress.warn(f"{len(images.corrupt)} corrupt images of {images.name} left out: {', '.join(images.corrupt)}")


def _check_folder(options: TrainOptions) -> None:
    out, state = options.out, options.out / STATE
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: expected a folder for the training run; choose another --out")
    if state.exists() != options.resume:
        expected = "pass --resume to go on, or choose another --out" if state.exists() else "leave --resume out"
        raise UsageError(f"{out} holds {'a' if state.exists() else 'no'} training run: {expected}")
    if (out / WEIGHTS).exists() and not state.exists():  # a bundle, say
        raise UsageError(f"{out} holds {WEIGHTS} of something else: choose another --out")


def _best(history: Sequence[Epoch]) -> Epoch:
    """The first of the best on the test images."""
    return max(history, key=lambda epoch: epoch.test_top1)


def _keep_best(out: Path, network: nn.Module, standing: Standing) -> None:
    """Writes the weights if the last epoch is the best so far."""
    if _best(standing.history) == standing.history[-1]:
        _write_weights(network, standing.spec, out / BEST)


def _write_weights(network: nn.Module, spec: ModelSpec, file: Path) -> None:
    from wrn_deploy.models.checkpoints.weights import write_weights

    written = file.with_suffix(".tmp")
    write_weights(network, spec, written)
    written.replace(file)
