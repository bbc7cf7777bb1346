r"""Measures a training step and its parts on this CPU or GPU, in several ways that take turns.

    python -m benchmarks.steps.training [--model wrn-16-2] [--batch 128] [--rounds 5] [--ways WAY ...] [--device cpu] \
        [--threads 1] [--memory] [--out FILE]

A way is a set of options of `wrn-deploy train`; `host` is how this project trained before it augmented on the device:
one image after another in numpy, normalised there, channels first, and a synchronization after each step. In a round
each way makes one step; the first round is not counted. Parts: `data` (take, augment and normalize a batch), `forward`
(with the loss), `backward`, and `update`. Times are medians over the rounds, images/s come from the minimum.

`--memory` measures, in another process for each way, the bytes of the tensors that a forward pass keeps for the
backward pass (each storage once, without parameters), and the memory before a step and at its peak: the process's
resident set on a CPU, allocated memory on a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.machine import peak_rss_bytes
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.training.execution.device import open_device
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.execution.processes import BatchShard
from wrn_deploy.training.images import CachedImages, ImageOptions
from wrn_deploy.training.loop import Trainer
from wrn_deploy.training.recipe import TrainRecipe

WAYS: dict[str, dict[str, Any]] = {
    "host": {"channels_last": False},
    "channels first": {"channels_last": False},
    "channels last": {},
    "bf16": {"amp": Amp.BF16},
    "compiled": {"compiled": True},
    "compiled bf16": {"compiled": True, "amp": Amp.BF16},
    "checkpointing": {"checkpointing": True},
    "accumulate 4": {"accumulate": 4},
    "checkpointing bf16": {"checkpointing": True, "amp": Amp.BF16},
}
QUICK = ("host", "channels first", "channels last", "bf16")
PARTS = ("data", "forward", "backward", "update")


@dataclasses.dataclass(slots=True)
class Way:
    """A trainer, and the seconds of its steps' parts."""

    name: str
    trainer: Trainer
    images: CachedImages
    seconds: list[dict[str, float]] = dataclasses.field(default_factory=list)


def main() -> None:
    """Measures, writes the raw numbers, and prints the table last."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    if given.one_memory is not None:
        print(json.dumps(_measure_memory(given.one_memory, given)))  # noqa: T201
        return
    record: dict[str, Any] = {
        **start_record("training", "torch", "numpy"),
        "model": given.model,
        "batch": given.batch,
        "device": given.device,
        "threads": given.threads,
    }
    if given.memory:
        record["memory"] = [_memory_of(way, given) for way in given.ways]
        table = _memory_table(record["memory"])
    else:
        ways = [_open(name, given) for name in given.ways]
        for index in range(given.rounds + 1):
            for way in ways[index % len(ways) :] + ways[: index % len(ways)]:
                way.seconds.append(_host_step(way, index) if way.name == "host" else _step(way, index))
        record["steps"] = {way.name: way.seconds[1:] for way in ways}
        table = _table(record["steps"], given.batch)
    if given.out is not None:
        write_record(given.out, record)
    Console(width=120).print(table)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wrn-16-2")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*QUICK])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one-memory", metavar="WAY", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _open(name: str, given: Any) -> Way:
    device = open_device(ExecutionOptions(device=Device(given.device), **WAYS[name]))
    spec = describe_model(given.model)
    side, random = (spec.preprocessing.height, spec.preprocessing.width), np.random.default_rng(0)
    count = 2 * given.batch
    pixels = torch.from_numpy(random.integers(0, 256, (count, *side, 3), dtype=np.uint8)).to(device.torch_device)
    labels = torch.from_numpy(random.integers(0, spec.classes, count)).to(device.torch_device)
    reader = ImageOptions(preprocessing=spec.preprocessing, classes=spec.classes, device=device.torch_device)
    images = CachedImages(name="noise", pixels=pixels, labels=labels, options=reader)
    torch.manual_seed(0)
    recipe = TrainRecipe(batch_size=given.batch, learning_rate=1e-3)
    trainer = Trainer(build_model(spec), recipe, images, images, device)
    trainer.network.train()
    return Way(name, trainer, images)


def _step(way: Way, epoch: int) -> dict[str, float]:
    """A step as `Trainer` makes it, with a clock between its parts."""
    trainer = way.trainer
    seconds: dict[str, float] = {}
    lap = _laps(trainer.device.torch_device, seconds)
    batch = next(way.images.train_batches(trainer.recipe, epoch, BatchShard()))
    images = trainer.device.arrange(batch.images)
    lap("data")
    trainer.optimizer.zero_grad()
    parts = trainer.device.execution.accumulate
    for part, labels in zip(images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True):
        with trainer.device.autocast():
            loss = functional.cross_entropy(trainer.network(part).float(), labels, reduction="sum") / batch.batch_size
        lap("forward")
        torch.autograd.backward(trainer.scaler.scale(loss))
        lap("backward")
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    lap("update")
    return seconds


def _host_step(way: Way, epoch: int) -> dict[str, float]:
    """A step as it was before augmentation moved to the device."""
    trainer, random = way.trainer, np.random.default_rng(epoch)
    seconds: dict[str, float] = {}
    pixels, preprocessing, shift = way.images.pixels.cpu().numpy(), way.images.options.preprocessing, 4
    lap = _laps(trainer.device.torch_device, seconds)
    chosen = pixels[random.permutation(len(pixels))[: trainer.recipe.batch_size]]
    padded = np.pad(chosen, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="reflect")
    offsets, mirrored = random.integers(0, 2 * shift + 1, size=(len(chosen), 2)), random.random(len(chosen)) < 0.5
    moved = np.empty_like(chosen)
    for index, (top, left) in enumerate(offsets):
        crop = padded[index, top : top + chosen.shape[1], left : left + chosen.shape[2]]
        moved[index] = crop[:, ::-1] if mirrored[index] else crop
    images = torch.from_numpy(normalize(moved, preprocessing)).to(trainer.device.torch_device)
    labels = way.images.labels[: len(images)]
    lap("data")
    trainer.optimizer.zero_grad()
    logits = trainer.network(images)
    loss = functional.cross_entropy(logits, labels)
    bool(torch.isfinite(loss))
    lap("forward")
    torch.autograd.backward(loss)
    lap("backward")
    trainer.optimizer.step()
    float(loss.detach()), int((logits.argmax(1) == labels).sum())
    lap("update")
    return seconds


def _laps(device: torch.device, seconds: dict[str, float]) -> Callable[[str], None]:
    last = [time.perf_counter()]

    def lap(part: str) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        seconds[part] = seconds.get(part, 0.0) + now - last[0]
        last[0] = now

    return lap


def _memory_of(way: str, given: Any) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.steps.training",
        "--one-memory",
        way,
        "--model",
        given.model,
        "--batch",
        str(given.batch),
    ]
    command += ["--device", given.device, "--threads", str(given.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    memory: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return memory


def _measure_memory(name: str, given: Any) -> dict[str, Any]:
    """Measures one step that has momentum already, as every step but the first has."""
    way = _open(name, given)
    trainer = way.trainer
    for parameter in trainer.network.parameters():
        trainer.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    before = _memory_now(trainer.device.torch_device)
    trainer.device.start_peak()
    batch = next(way.images.train_batches(trainer.recipe, 0, BatchShard()))
    kept: dict[int, int] = {}
    own = {each.untyped_storage().data_ptr() for each in trainer.network.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    parts = trainer.device.execution.accumulate
    images, labels = (each.tensor_split(parts)[0] for each in (batch.images, batch.labels))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), trainer.device.autocast():
        loss = functional.cross_entropy(trainer.network(trainer.device.arrange(images)).float(), labels)
    torch.autograd.backward(trainer.scaler.scale(loss))
    trainer.scaler.step(trainer.optimizer)
    peak = trainer.device.peak_bytes()
    parameters = sum(each.numel() * each.element_size() for each in trainer.network.parameters())
    return {"way": name, "kept": sum(kept.values()), "before": before, "peak": peak, "parameters": parameters}


def _memory_now(device: torch.device) -> int:
    return int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else peak_rss_bytes()


def _table(steps: dict[str, list[dict[str, float]]], batch: int) -> Table:
    caption = "ms, medians over the rounds; images/s from the minimum"
    table = make_table("way", *PARTS, "step", "min", "images/s", caption=caption)
    for name, rounds in steps.items():
        whole = [sum(each.values()) for each in rounds]
        medians = [statistics.median(each[part] for each in rounds) for part in PARTS]
        numbers = [*medians, statistics.median(whole), min(whole)]
        table.add_row(name, *(f"{1000 * number:.1f}" for number in numbers), f"{batch / min(whole):.1f}")
    return table


def _memory_table(rows: list[dict[str, Any]]) -> Table:
    caption = "MB: kept for the backward pass; memory before a step and at its peak"
    table = make_table("way", "parameters", "kept", "before", "peak", caption=caption)
    for row in rows:
        table.add_row(row["way"], *(f"{row[key] / 1e6:.0f}" for key in ("parameters", "kept", "before", "peak")))
    return table


if __name__ == "__main__":
    main()
