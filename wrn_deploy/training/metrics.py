"""Sums over the images of an epoch, kept on the device so that no step waits for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wrn_deploy.training.execution.processes import Team

__all__ = ["Score", "Tally"]

MANY = 100  # classes, from which on the best five are counted


@dataclass(frozen=True, slots=True)
class Score:
    """Over `images` images: mean loss, and shares (0..1) of right answers; `top5` is None below 100 classes."""

    images: int
    loss: float
    top1: float
    top5: float | None


class Tally:
    """Sums of loss, right answers, answers among the best five, and images."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)
        self._many = False

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Takes the sum of the losses, logits (N, classes) and labels (N,) of some images."""
        logits = logits.detach()
        self._many = logits.shape[1] >= MANY
        right = (logits.argmax(1) == labels).sum()
        near = (logits.topk(5).indices == labels[:, None]).sum() if self._many else right
        count = torch.full_like(right, len(labels))
        self._sums += torch.stack([loss.detach().double(), right.double(), near.double(), count.double()])

    def loss(self) -> float:
        """The sum of the losses so far in this process; waits for the device."""
        return float(self._sums[0])

    def score(self, team: Team) -> Score | None:
        """The means over all processes; None without images."""
        loss, right, near, count = team.total(self._sums).tolist()
        if not count:
            return None
        return Score(int(count), loss / count, right / count, near / count if self._many else None)
