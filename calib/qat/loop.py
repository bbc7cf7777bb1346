"""Trains a Q/DQ graph as it is stored, for fp32's answers or for labels; without bundles or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch.nn import functional

from wrn_deploy.calib.options import TEMPERATURE, Loss, Schedule
from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.qat.scale_search import search_scales
from wrn_deploy.calib.qat.trainable import Trainable
from wrn_deploy.errors import DeployError

__all__ = ["Answer", "Together", "TrainingWatch", "answer_with", "finetune_graph"]

Floats = npt.NDArray[np.float32]
Answer = Callable[[Floats], Floats]
Batch = tuple[Floats, npt.NDArray[np.int64]]
Values = dict[str, torch.Tensor]


class TrainingWatch(Protocol):
    """Watches the training, and decides which state is kept."""

    def advance(self) -> None:
        """Counts a step."""

    def look(self, step: int, rate: float, loss: float, answer: Answer) -> bool:
        """Judges the graph after `step` steps; returns whether it is the best so far.

        `rate` is the learning rate of that step, `loss` the mean training loss since the last look; `answer` goes from
        normalised images (N, 3, H, W) to the graph's logits (N, classes).
        """


class Part(Protocol):
    """The part of one of several processes, counted from 0."""

    @property
    def rank(self) -> int:
        """The process."""

    def of(self, count: int) -> slice:
        """The images of a batch of `count` that are its own."""


class Together(Protocol):
    """The processes that train one graph together; each draws the same batches, and takes its own part of each."""

    @property
    def shard(self) -> Part:
        """Which part of a batch is this process's."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in each of them."""


def finetune_graph(
    qdq: ir.Model,
    fp32: ir.Model,
    batches: Iterator[Batch],
    schedule: Schedule,
    watch: TrainingWatch,
    together: Together,
) -> None:
    """Changes the values of the Q/DQ graph, never its nodes, in place, to those that `watch` called the best.

    Each step runs the graph in PyTorch with exactly the codes, scales and fp16 numbers that would be written, so that
    the deployed graph is the trained one. There is no BN to update: it is folded, or its factors are constants. The
    optimizer is Adam; its rate falls to 0 along a cosine.

    Args:
        qdq: a graph with int8 weights stored with a DQ.
        fp32: the teacher, with the same input and logits.
        batches: normalised images (N, 3, H, W) and labels (N,), at least one batch more than there are steps.
        schedule: loss, length and rate.
        watch: called for every step, and judges some.
        together: the processes, of which each gets the sum of all gradients: the steps are those of one process, up to
            rounding.

    Raises:
        DeployError: the loss is not finite.
    """
    student, teacher = TorchGraph(qdq), TorchGraph(fp32)
    values = Trainable(qdq, student, scales=schedule.scales)

    def loss_of(batch: Batch, constants: Values) -> torch.Tensor:
        images, labels = map(torch.from_numpy, batch)
        return _loss(student.run(images, constants), teacher, images, labels, schedule.loss)

    optimizer = torch.optim.Adam(values.groups(schedule.rate))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    best, losses = values.state(), list[float]()
    if schedule.scales:
        _refine_scales(student, values, loss_of, next(batches))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    _start_alike(parameters, together)
    for step in range(1, schedule.steps + 1):
        rate = float(cosine.get_last_lr()[0])
        loss = _part_of_loss(loss_of, next(batches), values.constants(), together.shard)
        losses.append(float(together.sum(loss.detach().clone())))
        if not np.isfinite(losses[-1]):
            raise DeployError(
                f"the loss became {losses[-1]} in step {step}: fine-tuning diverged; lower the learning rate (--lr)"
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = together.sum(parameter.grad)
        optimizer.step()
        cosine.step()
        watch.advance()
        if step in schedule.looks:
            with torch.no_grad():
                now = values.constants()
            if watch.look(step, rate, float(np.mean(losses)), answer_with(student, now)):
                best = values.state()
            losses.clear()
    values.restore(best)
    values.store()


def _start_alike(parameters: list[torch.Tensor], together: Together) -> None:
    """Gives all processes the first one's parameters: refined scales may differ in last bits on other machines."""
    with torch.no_grad():
        for parameter in parameters:
            own = parameter if together.shard.rank == 0 else torch.zeros_like(parameter)
            parameter.copy_(together.sum(own.clone()))


def _part_of_loss(
    loss_of: Callable[[Batch, Values], torch.Tensor], batch: Batch, constants: Values, shard: Part
) -> torch.Tensor:
    """What this process's images add to the mean loss of the batch."""
    images, labels = batch
    part = shard.of(len(labels))
    share = (part.stop - part.start) / len(labels)
    part = part if share else slice(0, 1)  # of a batch that is smaller than the number of processes: counts 0 times
    loss: torch.Tensor = loss_of((images[part], labels[part]), constants) * share
    return loss


def _refine_scales(
    student: TorchGraph, values: Trainable, loss_of: Callable[[Batch, Values], torch.Tensor], batch: Batch
) -> None:
    """Starts from finer scales of activations if the loss of a batch is lower with them."""
    start = values.state()
    factors = search_scales(student, values.activation_scales, torch.from_numpy(batch[0]))
    with torch.no_grad():
        before = loss_of(batch, {})
        values.rescale(factors)
        if not loss_of(batch, values.constants()) < before:
            values.restore(start)


def answer_with(graph: TorchGraph, constants: Values | None = None) -> Answer:
    """Returns a function from normalised images to the graph's logits; `constants` replace some of its own."""

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
