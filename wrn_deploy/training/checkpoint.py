"""Training checkpoints in safetensors: weights, momentum, and the point to resume from; written atomically."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.formats.safetensors_header import read_header
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.loop import Epoch, Trainer
from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["ResumePoint", "restore_checkpoint", "save_checkpoint"]

METADATA = "wrn_deploy_training"
SCALER = "scaler"  # the loss scale of fp16; the other entries are ResumePoint's
ARITHMETIC = ("amp", "accumulate", "sync_norms")  # of the execution; other values make another run


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """A run's settings, which a resumed run must share, and the epochs done so far."""

    spec: ModelSpec
    recipe: TrainRecipe
    train: str
    test: str
    history: tuple[Epoch, ...] = ()


def save_checkpoint(file: Path, trainer: Trainer, point: ResumePoint) -> None:
    """Replaces `file` with the current state; a crash leaves the old file."""
    names = {id(parameter): name for name, parameter in trainer.network.named_parameters()}
    tensors = {f"network.{name}": tensor for name, tensor in trainer.network.state_dict().items()}
    for parameter, state in trainer.optimizer.state.items():
        tensors[f"momentum.{names[id(parameter)]}"] = state["momentum_buffer"]
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = {**dataclasses.asdict(point), **_arithmetic(trainer), SCALER: trainer.scaler.state_dict()}
    # Its save_file hides a full disk in an error of its own, and makes files that only their owner may read.
    write_whole(file, save(stored, metadata={METADATA: json.dumps(record, sort_keys=True)}))


def restore_checkpoint(file: Path, trainer: Trainer, expected: ResumePoint) -> tuple[Epoch, ...]:
    """Loads a checkpoint into the trainer and returns the epochs done.

    Raises:
        DeployError: the file is damaged, or of a run with another network, recipe, data or arithmetic.
    """
    try:
        record = json.loads(read_header(file)[METADATA])  # not strict: the loss of a run that diverged is NaN
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
        history = tuple(Epoch(**entry) for entry in record.pop("history"))
        scaler = record.pop(SCALER)
    except OverLimit:
        raise
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        DamagedFile,
    ) as error:
        raise DamagedFile(f"{file} is not a training checkpoint ({error}): remove it to start again") from error
    wanted = json.loads(json.dumps({**dataclasses.asdict(expected), **_arithmetic(trainer)}))
    del wanted["history"]
    differing = list(_differences(record, wanted))
    if differing:
        raise DeployError(f"{file} is from another run ({'; '.join(differing)}): use its options, or another --out")
    if {key: tensor.shape for key, tensor in tensors.items()} != _shapes(trainer):
        raise DamagedFile(f"{file} lacks tensors of {expected.spec.name}: it is damaged; remove it to start again")
    _put_back(trainer, tensors)
    trainer.scaler.load_state_dict(scaler)
    return history


def _put_back(trainer: Trainer, tensors: dict[str, torch.Tensor]) -> None:
    network = {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
    trainer.network.load_state_dict(network)
    for name, parameter in trainer.network.named_parameters():
        momentum = torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"momentum.{name}"])
        trainer.optimizer.state[parameter] = {"momentum_buffer": momentum}


def _arithmetic(trainer: Trainer) -> dict[str, Any]:
    execution = dataclasses.asdict(trainer.device.execution)
    return {name: execution[name] for name in ARITHMETIC}


def _differences(there: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each value that differs between two JSON records, with its path."""
    if isinstance(there, dict) and isinstance(now, dict):
        for key in there | now:
            yield from _differences(there.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif there != now:
        yield f"{name} {there} there, {now} now"


def _shapes(trainer: Trainer) -> dict[str, torch.Size]:
    """The tensors of a checkpoint after at least one step."""
    network = {f"network.{name}": tensor.shape for name, tensor in trainer.network.state_dict().items()}
    return network | {f"momentum.{name}": value.shape for name, value in trainer.network.named_parameters()}
