"""Judges int8 graphs by held-out images while they are fine-tuned and when they are written; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.report.finetuning import Look, Standing
from wrn_deploy.calib.options import TEMPERATURE, Loss
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.formatting import percent
from wrn_deploy.progress import Progress

__all__ = ["TOLERANCE", "Judge", "Watcher", "check_arithmetic"]

Logits = npt.NDArray[np.float32]
Answer = Callable[[Logits], Logits]

# How far the logits of ONNX Runtime may be from those that were trained with: the root of the mean squared difference,
# as a fraction of the logits' own deviation. fp16 rounding moves values over the edge between two codes here and there.
TOLERANCE = 0.1


class Judge:
    """fp32's logits on the held-out images, which other graphs are judged by; keeps one float32 per class and image."""

    def __init__(self, batches: CachedBatches, loss: Loss, fp32: Answer, advance: Callable[[int], None]) -> None:
        self.loss = loss
        self._batches = batches
        self._wanted: list[Logits] = []
        labelled = True
        for batch in batches:
            self._wanted.append(fp32(normalize(batch.images, batches.preprocessing)))
            labelled = labelled and bool((batch.labels >= 0).all())
            advance(len(batch.labels))
        self._labelled = labelled
        self.reference = self.judge(fp32)

    @property
    def first_images(self) -> Logits:
        """The first batch of the held-out images, normalised."""
        return normalize(next(iter(self._batches)).images, self._batches.preprocessing)

    def judge(self, answer: Answer) -> Standing:
        """The loss, agreement and right answers of a graph.

        Raises:
            DeployError: a logit is not finite.
        """
        images = same = correct = 0
        total = 0.0
        for batch, wanted in zip(self._batches, self._wanted, strict=True):
            logits = answer(normalize(batch.images, self._batches.preprocessing))
            if not np.isfinite(logits).all():
                raise DeployError(
                    f"the int8 graph gives NaN or infinite logits near {batch.names[0]}: expected finite ones; lower "
                    "the learning rate (--lr), or see with `wrn-deploy eval` whether the graph gave them before"
                )
            answers = logits.argmax(axis=1)
            total += _loss(logits, wanted, batch.labels, self.loss)
            same += int((answers == wanted.argmax(axis=1)).sum())
            correct += int((answers == batch.labels).sum())
            images += len(logits)
        return Standing(images, total / images, same, correct if self._labelled else None)


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Remembers the best step in `kept`: better than the start, and with the lowest loss; None: there was none."""

    key: str
    judge: Judge
    start: Standing
    count: Callable[[int], None]
    looks: list[Look] = field(default_factory=list)
    kept: int | None = None
    lowest: float = math.inf

    def advance(self) -> None:
        """Counts a step."""
        self.count(1)

    def look(self, step: int, rate: float, loss: float, answer: Answer) -> bool:
        """Judges the graph; returns whether it is the best so far."""
        standing = self.judge.judge(answer)
        self.looks.append(Look(step, rate, loss, standing))
        better = standing.is_better_than(self.start, by_labels=self.judge.loss.needs_labels)
        if not better or standing.loss >= self.lowest:
            return False
        self.lowest, self.kept = standing.loss, step
        return True

    def report(self, progress: Progress) -> None:
        """Notes one line per look."""
        for look in self.looks:
            progress.note(
                f"{self.key}, step {look.step}: loss {look.loss:.4f} in training, {look.standing.loss:.4f} held out "
                f"({percent(look.standing.agreement)} as fp32); before: {self.start.loss:.4f}"
            )


def check_arithmetic(key: str, trained: Answer, written: Answer, images: Logits, file: Path) -> float:
    """The gate that the written graph computes what was trained; returns the difference of the logits.

    Args:
        key: the graph's key, for the error.
        trained: the trained graph in PyTorch, images (N, 3, H, W) -> logits (N, classes).
        written: the graph in `file` in ONNX Runtime.
        images: normalised.
        file: the graph's file, for the error.

    Raises:
        GateError: they differ by more than TOLERANCE.
    """
    ours, theirs = trained(images).astype(np.float64), written(images).astype(np.float64)
    difference = float(np.sqrt(np.mean((ours - theirs) ** 2)) / (ours.std() or 1.0))
    if not difference <= TOLERANCE:
        raise GateError(
            f"ONNX Runtime computes other logits with {file.name} than {key} was trained with: {difference:.3g} of "
            f"their deviation apart, expected at most {TOLERANCE:g}; nothing was written"
        )
    return difference


def _loss(logits: Logits, wanted: Logits, labels: npt.NDArray[np.int64], kind: Loss) -> float:
    """The sum over the images of what is trained for, in double; `calib/qat/loop.py` has the same with a gradient."""
    parts = []
    if kind is not Loss.LABELS:
        teacher, student = _log_softmax(wanted / TEMPERATURE), _log_softmax(logits / TEMPERATURE)
        parts.append(float((np.exp(teacher) * (teacher - student)).sum()) * TEMPERATURE**2)
    if kind.needs_labels:
        parts.append(-float(np.take_along_axis(_log_softmax(logits), labels[:, None], axis=1).sum()))
    return sum(parts) / len(parts)


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
