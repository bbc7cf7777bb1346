"""The training step: trains a network on a data set, resumable, and logs each epoch."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.data import ImageSource, OpenedSource, Role, open_data
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.sources import report_notes
from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.files.new_file import remove_leftovers
from wrn_deploy.files.room import check_room
from wrn_deploy.formatting import count
from wrn_deploy.models import Overrides, build_model
from wrn_deploy.models.known import check_name
from wrn_deploy.pipeline.networks.checks import TRAINED_BYTES, count_parameters
from wrn_deploy.pipeline.training.record import (
    LOG,
    RUN,
    describe_session,
    note_epoch,
    write_log,
    write_run,
)
from wrn_deploy.pipeline.training.spec import check_classes, describe_training, fit_network
from wrn_deploy.progress import Progress, Silent
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.execution.options import ExecutionOptions
from wrn_deploy.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from torch import nn

    from wrn_deploy.training.checkpoint import ResumePoint
    from wrn_deploy.training.execution.device import TrainDevice
    from wrn_deploy.training.images import ImageOptions, Images
    from wrn_deploy.training.loop import Epoch, Trainer

__all__ = ["BEST", "LOG", "RUN", "STATE", "WEIGHTS", "TrainOptions", "TrainResult", "open_images", "train_model"]

STATE, WEIGHTS, BEST = "checkpoint.safetensors", "weights.safetensors", "best.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What to train, on which data, and how.

    Args:
        model: the network's name, as in "wrn-16-2".
        data: training images, as `open_data` takes them.
        out: the folder of the run.
        recipe: what the training does.
        test_data: images to test on; None: the data set's own test images.
        overrides: changes to the network's description.
        resume: continue the run in `out` after its last whole epoch.
        execution: device, precision and memory.
        max_corrupt: leave out up to N corrupt images.
        workers: processes that decode images; None: see `choose_workers`.
        whiten: whiten images in the network, by GCN and ZCA.
    """

    model: str
    data: str
    out: Path
    recipe: TrainRecipe
    test_data: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    resume: bool = False
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    max_corrupt: MaxCorrupt = 0
    workers: int | None = None
    whiten: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """Where the weights are, and how good they are: top-1 (0..1) on the test images, of the last and the best epoch.

    `process` is the rank of this process; the first one, 0, writes the files.
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
    - `best.safetensors`: after the epoch with the best top-1 on the test images. These images choose the epoch, so its
      top-1 is too high: it is for comparing, and the last epoch's weights are what to deploy;
    - `checkpoint.safetensors`, `log.jsonl` and `run.json`.

    The mean and deviation that normalise images are measured on the training images, as in the paper, and travel with
    the weights, as do the names of the classes.

    Example:
        >>> recipe = TrainRecipe(epochs=1, batch_size=32)
        >>> options = TrainOptions(model="wrn-10-1", data="digits", out=Path("run"), recipe=recipe)
        >>> train_model(options, Silent()).weights
        PosixPath('run/weights.safetensors')

    Raises:
        UsageError: the folder holds a run and `resume` is off, or holds none and it is on, or holds other weights.
        DeployError: unusable data, or a checkpoint of another run.
        MachineError: a package, or the GPU that was asked for, is missing.
    """
    train, test = open_images(options)
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "training a network")
    from wrn_deploy.training.execution.device import open_device
    from wrn_deploy.training.execution.processes import lost_is_named

    device = open_device(options.execution)
    if device.processes.shard.rank:
        progress = Silent()
    if device.warning is not None:
        progress.warn(device.warning)
    for source in (train, test):
        report_notes(source, progress)
    check_classes(train, test)
    spec = describe_training(options, train, progress)
    recipe = dataclasses.replace(options.recipe, mirror=options.recipe.mirror and train.mirror)
    with lost_is_named(device.processes):
        result = _run(dataclasses.replace(options, recipe=recipe), spec, device, progress, train=train, test=test)
        device.processes.close()
    return result


def open_images(options: TrainOptions) -> tuple[OpenedSource, OpenedSource]:
    """The images for training and for tests, after what can be refused before PyTorch is imported.

    Raises:
        UsageError, DeployError: as `train_model`.
    """
    _check_folder(options)
    check_name(options.model)
    train = open_data(options.data, Role.TRAIN)
    test = open_data(options.test_data or options.data, Role.TEST)
    check_room(options.out, TRAINED_BYTES * count_parameters(options.model, None), "the training run")
    return train, test


def _run(
    options: TrainOptions,
    spec: ModelSpec,
    device: TrainDevice,
    progress: Progress,
    *,
    train: ImageSource,
    test: ImageSource,
) -> TrainResult:
    import torch

    from wrn_deploy.training.checkpoint import ResumePoint, restore_checkpoint
    from wrn_deploy.training.images import ImageOptions
    from wrn_deploy.training.loop import Trainer

    torch.manual_seed(options.recipe.seed)
    network = build_model(spec)
    if not options.resume:
        fit_network(network, spec, train, options, progress)
    point = ResumePoint(spec=spec, recipe=options.recipe, train=Path(train.name).name, test=Path(test.name).name)
    with Decoders(choose_workers(options.workers, spec.preprocessing, len(train))) as decoders:
        reader = ImageOptions(
            preprocessing=spec.preprocessing,
            classes=spec.classes,
            device=device.torch_device,
            decoders=decoders,
            max_corrupt=options.max_corrupt,
        )
        train_images, test_images = (_open_images(source, reader, progress) for source in (train, test))
        trainer = Trainer(network, options.recipe, train_images, test_images, device)
        history = restore_checkpoint(options.out / STATE, trainer, point) if options.resume else ()
        point = dataclasses.replace(point, history=history)
        if device.processes.shard.rank == 0:
            _begin(options.out, trainer, point, progress)
        point = _train(options.out, trainer, point, progress)
    best = _best(point.history)
    return TrainResult(
        weights=options.out / WEIGHTS,
        epochs=len(point.history),
        test_top1=point.history[-1].test_top1,
        test_images=len(test_images),
        best=options.out / BEST,
        best_epoch=best.epoch,
        best_top1=best.test_top1,
        seconds=round(sum(epoch.seconds or 0.0 for epoch in point.history), 1),
        process=device.processes.shard.rank,
    )


def _train(out: Path, trainer: Trainer, point: ResumePoint, progress: Progress) -> ResumePoint:
    """Trains to the end; the first process writes a checkpoint and a line after each epoch."""
    from wrn_deploy.models.checkpoints.weights import write_weights
    from wrn_deploy.training.checkpoint import save_checkpoint

    recipe, spec, first = point.recipe, point.spec, len(point.history)
    title = (
        f"Training {spec.name} on {point.train} ({count(len(trainer.train), 'image')}, {count(recipe.epochs, 'epoch')})"
    )
    writes = trainer.device.processes.shard.rank == 0
    with progress.task(title, (recipe.epochs - first) * (len(trainer.train) + len(trainer.test))) as advance:
        for epoch in trainer.run(first, advance):
            point = dataclasses.replace(point, history=(*point.history, epoch))
            if writes:
                save_checkpoint(out / STATE, trainer, point)
                _keep_best(out, trainer.network, point)
                write_log(out, point.history)
            note_epoch(point.history[first:], recipe.epochs, progress)
    if writes:
        write_weights(trainer.network, spec, out / WEIGHTS)
    return point


def _begin(out: Path, trainer: Trainer, point: ResumePoint, progress: Progress) -> None:
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    if len(point.history) == point.recipe.epochs:  # the run is complete
        write_log(out, point.history)
        return
    session = describe_session(trainer.device, len(point.history))
    data = {
        "train": {"name": point.train, "images": len(trainer.train)},
        "test": {"name": point.test, "images": len(trainer.test)},
    }
    differing = write_run(out, point, data, session)
    if differing:
        progress.warn(
            f"the run started under different conditions ({'; '.join(differing)}): it cannot be resumed exactly"
        )
    write_log(out, point.history)
    if point.history:  # the process may have been killed between the checkpoint and this
        _keep_best(out, trainer.network, point)


def _open_images(source: ImageSource, options: ImageOptions, progress: Progress) -> Images:
    from wrn_deploy.training.images import open_images as read_images

    with progress.task(f"Reading {count(len(source), 'image')} of {Path(source.name).name}", len(source)) as advance:
        images = read_images(source, options, advance=advance)
    if images.corrupt:
        progress.warn(
            f"skipped {count(len(images.corrupt), 'corrupt image')} of {images.name}: {', '.join(images.corrupt)}"
        )
    return images


def _check_folder(options: TrainOptions) -> None:
    out, state = options.out, options.out / STATE
    if out.exists() and not out.is_dir():
        raise UsageError(f"{str(out)!r} is a file: expected a folder for the training run; choose another --out")
    if state.exists() != options.resume:
        expected = "pass --resume to continue, or choose another --out" if state.exists() else "leave --resume out"
        raise UsageError(f"{str(out)!r} contains {'a' if state.exists() else 'no'} training run: {expected}")
    if (out / WEIGHTS).exists() and not state.exists():  # a bundle, say
        raise UsageError(f"{str(out)!r} contains another {WEIGHTS}: choose another --out")


def _best(history: Sequence[Epoch]) -> Epoch:
    """The first epoch with the best top-1 on the test images."""
    return max(history, key=lambda epoch: epoch.test_top1)


def _keep_best(out: Path, network: nn.Module, point: ResumePoint) -> None:
    """Writes the weights if the last epoch is the best so far."""
    from wrn_deploy.models.checkpoints.weights import write_weights

    if _best(point.history) == point.history[-1]:
        write_weights(network, point.spec, out / BEST)
