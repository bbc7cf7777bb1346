"""Training checkpoints in safetensors: weights, momentum, and where the run stood; written atomically."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.loop import Trainer

__all__ = ["Standing", "restore_checkpoint", "save_checkpoint"]

METADATA = "wrn_deploy_training"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands: epochs done, and what it was told; a run goes on only with the same."""

    epochs_done: int
    spec: ModelSpec
    recipe: str
    train: str
    test: str


def save_checkpoint(file: Path, trainer: Trainer, progress: Standing) -> None:
    """Replaces `file` by the present state; a crash leaves the old one."""
    names = {id(parameter): name for name, parameter in trainer.network.named_parameters()}
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in trainer.network.state_dict().items()}
    for parameter, state in trainer.optimizer.state.items():
        tensors[f"momentum.{names[id(parameter)]}"] = state["momentum_buffer"].contiguous()
    written = file.with_suffix(".tmp")
    save_file(tensors, written, metadata={METADATA: json.dumps(dataclasses.asdict(progress), sort_keys=True)})
    written.replace(file)


def restore_checkpoint(file: Path, trainer: Trainer, expected: Standing) -> int:
    """Puts a checkpoint back into the trainer; returns the number of epochs done.

    Raises:
        DeployError: the file is damaged, or of a run with another network, recipe or data.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            record = json.loads((opened.metadata() or {})[METADATA])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DeployError(f"{file} is no training checkpoint ({error}): remove it to start anew") from error
    wanted = json.loads(json.dumps(dataclasses.asdict(expected)))
    differing = [key for key in wanted if key != "epochs_done" and record.get(key) != wanted[key]]
    if differing:
        shown = "; ".join(f"{key}: {record.get(key)} there, {wanted[key]} now" for key in differing)
        raise DeployError(f"{file} belongs to another run ({shown}): use its options, or another --out")
    network = {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
    trainer.network.load_state_dict(network)
    for name, parameter in trainer.network.named_parameters():
        if f"momentum.{name}" in tensors:
            trainer.optimizer.state[parameter] = {"momentum_buffer": tensors[f"momentum.{name}"]}
    return int(record["epochs_done"])
