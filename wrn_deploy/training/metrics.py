"""Sums over the images of an epoch, kept on the device so that no step waits for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wrn_deploy.training.execution.processes import ProcessGroup

__all__ = ["MetricSums", "Metrics"]

MIN_CLASSES = 100  # for a top-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Over `images` images: mean loss, and top-1 and top-5 (0..1); `top5` is None below 100 classes."""

    images: int
    loss: float
    top1: float
    top5: float | None


class MetricSums:
    """Sums of loss, correct answers, labels among the best five, and images."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)
        self._has_top5 = False

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Adds the sum of the losses, logits (N, classes) and labels (N,) of some images."""
        logits = logits.detach()
        self._has_top5 = logits.shape[1] >= MIN_CLASSES
        top1 = (logits.argmax(1) == labels).sum()
        top5 = (logits.topk(5).indices == labels[:, None]).sum() if self._has_top5 else top1
        count = torch.full_like(top1, len(labels))
        self._sums += torch.stack([loss.detach().double(), top1.double(), top5.double(), count.double()])

    def loss(self) -> float:
        """The sum of the losses so far in this process; waits for the device."""
        return float(self._sums[0])

    def metrics(self, processes: ProcessGroup) -> Metrics | None:
        """The means over all processes; None without images."""
        loss, top1, top5, count = processes.sum(self._sums).tolist()
        if not count:
            return None
        return Metrics(
            images=int(count), loss=loss / count, top1=top1 / count, top5=top5 / count if self._has_top5 else None
        )
