"""Records a training run: its settings and environment in `run.json`, one line per epoch in `log.jsonl`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.text import read_json
from wrn_deploy.machine import describe_machine, package_versions
from wrn_deploy.progress import Progress
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from wrn_deploy.training.checkpoint import ResumePoint
    from wrn_deploy.training.execution.device import TrainDevice
    from wrn_deploy.training.loop import Epoch

__all__ = ["LOG", "RUN", "describe_session", "note_epoch", "write_log", "write_run"]

LOG, RUN = "log.jsonl", "run.json"
PACKAGES = ("torch", "numpy", "pillow", "safetensors", "accelerate")
# What changes the rounding of sums, and nothing else of the run.
EXACT = (
    "device", "gpu", "processes", "threads", "channels_last", "compiled", "checkpointing", "deterministic", "torch",
)  # fmt: skip


def describe_session(device: TrainDevice, first_epoch: int) -> dict[str, Any]:
    """The environment of a run, or of its continuation from `first_epoch`."""
    import torch

    gpu = torch.cuda.get_device_name(device.torch_device) if device.torch_device.type == "cuda" else None
    return {
        "first_epoch": first_epoch,
        "device": device.torch_device.type,
        "gpu": gpu,
        "processes": device.processes.shard.size,
        "threads": torch.get_num_threads(),
        **{name: value for name, value in dataclasses.asdict(device.execution).items() if name != "device"},
        "machine": dataclasses.asdict(describe_machine()),
        "torch": torch.__version__,
        "versions": {"wrn-deploy": __version__, **package_versions(*PACKAGES)},
    }


def write_run(folder: Path, point: ResumePoint, data: dict[str, Any], session: dict[str, Any]) -> list[str]:
    """Writes `run.json`, or adds the session to it; returns the differences that make the continuation inexact."""
    file, sessions = folder / RUN, []
    if session["first_epoch"] and file.exists():
        try:
            sessions = read_json(file)["sessions"]
        except (DamagedFile, KeyError, TypeError) as error:
            raise DamagedFile(f"{file} is damaged ({error!r}): remove it to continue the run without it") from error
    before = sessions[-1] if sessions else session
    record = {
        "model": point.spec.name,
        "recipe": dataclasses.asdict(point.recipe),
        **data,
        "spec": point.spec.to_json(),
        "sessions": [*sessions, session],
    }
    write_whole(file, json.dumps(record, indent=1) + "\n")
    return [f"{name} {before.get(name)}, now {session[name]}" for name in EXACT if before.get(name) != session[name]]


def write_log(folder: Path, history: Sequence[Epoch]) -> None:
    """Writes the log anew with the epochs done: a reader never sees half of a line."""
    write_whole(folder / LOG, "".join(map(_line, history)))


def note_epoch(epochs: Sequence[Epoch], total: int, progress: Progress) -> None:
    """Notes the last of this session's `epochs`, and how long the rest of `total` will take."""
    last = epochs[-1]
    seconds = [epoch.seconds for epoch in epochs[-3:] if epoch.seconds is not None]
    remaining = (total - last.epoch - 1) * sum(seconds) / max(1, len(seconds))
    left = f", about {_duration(remaining)} left" if remaining else ""
    progress.note(
        f"epoch {last.epoch + 1} of {total}: loss {last.loss:.4f}, top-1 {100 * last.train_top1:.2f} % train, "
        f"{100 * last.test_top1:.2f} % test; {last.images_per_s:.0f} images/s{left}"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _line(epoch: Epoch) -> str:
    return json.dumps(dataclasses.asdict(epoch)) + "\n"
