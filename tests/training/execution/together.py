"""What `test_processes.py` starts in several processes: epochs straight, and with a break; or one process alone."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from tests.training.test_loop import PREPROCESSING, shades
from wrn_deploy.models import describe_model
from wrn_deploy.training.checkpoint import ResumePoint, restore_checkpoint, save_checkpoint
from wrn_deploy.training.execution.device import open_device
from wrn_deploy.training.execution.options import Device, ExecutionOptions
from wrn_deploy.training.images import CACHE_BYTES, ImageOptions, open_images
from wrn_deploy.training.loop import Trainer
from wrn_deploy.training.recipe import TrainRecipe

RECIPE = TrainRecipe(epochs=3, batch_size=8, learning_rate=0.02, label_smoothing=0.1)
POINT = ResumePoint(
    spec=describe_model("wrn-10-1"), recipe=RECIPE, train="shades", test="shades"
)  # the network is another one here


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
    return nn.Sequential(nn.Sequential(nn.Sequential(*inner)), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))


def trainer_for(execution: ExecutionOptions, cache_bytes: int = CACHE_BYTES) -> Trainer:
    """45 images make the last batch one of 5, whose parts are not equal."""
    images = open_images(shades(45), ImageOptions(preprocessing=PREPROCESSING, classes=2), cache_bytes=cache_bytes)
    return Trainer(network(), RECIPE, images, images, open_device(execution))


def train(trainer: Trainer, folder: Path, stop_after: int | None = None) -> dict[str, torch.Tensor]:
    """The state after all epochs, or after some; then a checkpoint is left in `folder`."""
    history = []
    for epoch in trainer.run(0, lambda _images: None):
        history.append(dataclasses.replace(epoch, seconds=None, images_per_s=None, peak_bytes=None))
        if len(history) == stop_after:
            break
    if stop_after is not None and trainer.device.processes.shard.rank == 0:
        point = dataclasses.replace(POINT, history=tuple(history))
        save_checkpoint(folder / "state.safetensors", trainer, point)
    return {name: tensor.clone().contiguous() for name, tensor in trainer.network.state_dict().items()}


def resume(trainer: Trainer, folder: Path) -> dict[str, torch.Tensor]:
    """The state after the last epoch, from the checkpoint in `folder` on."""
    assert len(restore_checkpoint(folder / "state.safetensors", trainer, POINT)) == 2
    list(trainer.run(2, lambda _images: None))
    return trainer.network.state_dict()


def main(folder: Path) -> None:
    processes = open_device(ExecutionOptions(device=Device.CPU)).processes
    for name, execution, cache_bytes in (
        ("whole", ExecutionOptions(device=Device.CPU), CACHE_BYTES),
        ("streamed", ExecutionOptions(device=Device.CPU), 0),
        ("parts", ExecutionOptions(device=Device.CPU, accumulate=2), CACHE_BYTES),
        ("local", ExecutionOptions(device=Device.CPU, sync_norms=False), CACHE_BYTES),
    ):
        straight = train(trainer_for(execution, cache_bytes), folder)
        if processes.shard.rank == 0:
            save_file(straight, folder / f"{name}.safetensors")
        own = torch.cat([tensor.double().flatten() for tensor in straight.values()])
        assert torch.equal(processes.sum(own.clone()), own * processes.shard.size), f"{name}: the processes differ"
        train(trainer_for(execution, cache_bytes), folder, stop_after=2)
        torch.distributed.barrier()
        resumed = resume(trainer_for(execution, cache_bytes), folder)
        for key, tensor in resumed.items():
            assert torch.equal(tensor, straight[key]), f"{name}: {key} is another one after a break"
    processes.close()
    sys.stdout.flush()
    os._exit(0)  # see `_leave` in wrn_deploy/cli/__init__.py


if __name__ == "__main__":
    main(Path(sys.argv[1]))
