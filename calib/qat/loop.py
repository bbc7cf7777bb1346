"""Trains a Q/DQ graph as it is stored, for fp32's answers or for labels; without bundles or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch.nn import functional

from wrn_deploy.calib.qat.scale_search import search_scales
from wrn_deploy.calib.qat.schedule import TEMPERATURE, Loss, Schedule
from wrn_deploy.calib.qat.trainable import Trainable
from wrn_deploy.calib.rounding.execute import TorchGraph
from wrn_deploy.errors import DeployError

__all__ = ["Answer", "Watch", "answer_with", "finetune_graph"]

Floats = npt.NDArray[np.float32]
Answer = Callable[[Floats], Floats]
Batch = tuple[Floats, npt.NDArray[np.int64]]


class Watch(Protocol):
    """Watches the training, and decides which state is kept."""

    def advance(self) -> None:
        """Counts a step."""

    def look(self, step: int, rate: float, loss: float, answer: Answer) -> bool:
        """Judges the graph as it is now; returns whether it is the best so far.

        Args:
            step: the number of steps done.
            rate: the learning rate of that step.
            loss: mean of the training loss since the last look.
            answer: normalised images (N, 3, H, W) -> the graph's logits (N, classes).
        """


def finetune_graph(qdq: ir.Model, fp32: ir.Model, batches: Iterator[Batch], how: Schedule, watch: Watch) -> None:
    """Changes the values of the Q/DQ graph, never its nodes, in place, to those that `watch` called the best.

    Each step runs the graph in PyTorch with exactly the codes, scales and fp16 numbers that would be written, so that
    the deployed graph is the trained one. There is no BN to update: it is folded, or its factors are constants. The
    optimizer is Adam; its rate falls to 0 along a cosine.

    Args:
        qdq: a graph with int8 weights stored with a DQ.
        fp32: the teacher, with the same input and logits.
        batches: normalised images (N, 3, H, W) and labels (N,), at least as many as there are steps.
        how: loss, length and rate.
        watch: called for every step, and judges some.

    Raises:
        DeployError: the loss is not finite.
    """
    student, teacher = TorchGraph(qdq), TorchGraph(fp32)
    values = Trainable(qdq, student, scales=how.scales)
    optimizer = torch.optim.Adam(values.groups(how.rate))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    best, losses = values.state(), list[float]()
    if how.scales:
        _search_scales(
            student,
            values,
            lambda logits, given, labels: _loss(logits, teacher, given, labels, how.loss),
            next(batches),
        )
    for step in range(1, how.steps + 1):
        rate = float(schedule.get_last_lr()[0])
        pixels, labels = next(batches)
        images = torch.from_numpy(pixels)
        loss = _loss(student.run(images, values.constants()), teacher, images, torch.from_numpy(labels), how.loss)
        losses.append(_checked(float(loss.detach()), step))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        watch.advance()
        if step in how.looks:
            with torch.no_grad():
                now = values.constants()
            if watch.look(step, rate, float(np.mean(losses)), answer_with(student, now)):
                best = values.state()
            losses.clear()
    values.restore(best)
    values.store()


def _search_scales(
    student: TorchGraph,
    values: Trainable,
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    batch: Batch,
) -> None:
    """Starts from finer scales of activations if the loss of a batch is lower with them."""
    images, labels = map(torch.from_numpy, batch)
    start, factors = values.state(), search_scales(student, values.activation_scales, images)
    with torch.no_grad():
        before = loss(student.run(images), images, labels)
        values.rescale(factors)
        if not loss(student.run(images, values.constants()), images, labels) < before:
            values.restore(start)


def answer_with(graph: TorchGraph, constants: dict[str, torch.Tensor] | None = None) -> Answer:
    """A function from normalised images to the graph's logits; `constants` replace some of its own."""

    def answer(images: Floats) -> Floats:
        with torch.inference_mode():
            logits: Floats = graph.run(torch.from_numpy(images), constants).numpy()
        return logits

    return answer


def _loss(
    logits: torch.Tensor, teacher: TorchGraph, images: torch.Tensor, labels: torch.Tensor, kind: Loss
) -> torch.Tensor:
    """Distillation: the divergence from fp32's softened answers, times T squared (Hinton et al., arXiv:1503.02531)."""
    parts = []
    if kind is not Loss.LABELS:
        with torch.no_grad():
            wanted = functional.log_softmax(teacher.run(images) / TEMPERATURE, dim=1)
        given = functional.log_softmax(logits / TEMPERATURE, dim=1)
        divergence = functional.kl_div(given, wanted, reduction="batchmean", log_target=True)
        parts.append(divergence * TEMPERATURE**2)
    if kind.needs_labels:
        parts.append(functional.cross_entropy(logits, labels))
    return torch.stack(parts).mean()


def _checked(loss: float, step: int) -> float:
    if not np.isfinite(loss):
        raise DeployError(
            f"the loss became {loss} in step {step}: fine-tuning diverged; lower the learning rate (--lr)"
        )
    return loss
