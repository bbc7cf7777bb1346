"""The training loop: one epoch after another, exactly resumable; knows torch, nothing of files or models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.data import ImageSource
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.recipe import Recipe, augment

__all__ = ["Epoch", "Trainer"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave: mean loss and top-1 while training, top-1 (0..1) on the test images."""

    epoch: int
    learning_rate: float
    loss: float
    train_top1: float
    test_top1: float


class Trainer:
    """A network, its optimizer, and the images.

    All randomness of an epoch (order, augmentation, dropout) is drawn from the recipe's seed and the epoch's number, so
    a run that was interrupted between two epochs goes on as if it had not been.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, how: Preprocessing, train: ImageSource, test: ImageSource
    ) -> None:
        self.network = network
        self.recipe = recipe
        self._how = how
        self._train = train
        self._test = test
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=True,
        )

    def run(self, first: int, advance: Callable[[int], None]) -> Iterator[Epoch]:
        """Trains from epoch `first` (counted from 0) to the recipe's last; `advance` is told of images seen.

        Raises:
            DeployError: the loss or what was learned is not finite, or a label is outside the network's classes.
        """
        for epoch in range(first, self.recipe.epochs):
            rate = self.recipe.learning_rate_at(epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, train_top1 = self._train_epoch(epoch, advance)
            self._check_state(epoch)
            yield Epoch(epoch, rate, loss, train_top1, self._evaluate(advance))

    def _train_epoch(self, epoch: int, advance: Callable[[int], None]) -> tuple[float, float]:
        random = np.random.default_rng([self.recipe.seed, epoch])
        torch.manual_seed(int(random.integers(2**62)))
        batches = Batches(self._train, self._how, self.recipe.batch_size, order=random)
        self.network.train()
        total, right, seen = 0.0, 0, 0
        for batch in batches:
            if len(batch.labels) < 2:  # BN has no variance over one image
                continue
            images = torch.from_numpy(normalize(augment(batch.images, self.recipe, random), self._how))
            labels = torch.from_numpy(batch.labels)
            logits = self.network(images)
            _check_labels(labels, logits.shape[1], batch.names)
            loss = functional.cross_entropy(logits, labels)
            if not bool(torch.isfinite(loss)):
                raise DeployError(_diverged(f"the loss became {loss.item()}", epoch))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += float(loss.detach()) * len(labels)
            right += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
            advance(len(labels))
        if not seen:
            raise DeployError(f"{self._train.name} has too few images to train on: expected at least 2")
        return total / seen, right / seen

    def _check_state(self, epoch: int) -> None:
        """A loss can stay finite while BN's statistics do not: they are used in inference only."""
        for name, tensor in self.network.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise DeployError(_diverged(f"{name} became NaN or infinite", epoch))

    def _evaluate(self, advance: Callable[[int], None]) -> float:
        self.network.eval()
        right, seen = 0, 0
        with torch.inference_mode():
            for batch in Batches(self._test, self._how, 256):
                logits = self.network(torch.from_numpy(normalize(batch.images, self._how)))
                labels = torch.from_numpy(batch.labels)
                _check_labels(labels, logits.shape[1], batch.names)
                right += int((logits.argmax(1) == labels).sum())
                seen += len(batch.labels)
                advance(len(batch.labels))
        return right / seen


def _diverged(what: str, epoch: int) -> str:
    return f"{what} in epoch {epoch + 1}: training diverged; lower the learning rate (--lr)"


def _check_labels(labels: torch.Tensor, classes: int, names: tuple[str, ...]) -> None:
    outside = ((labels < 0) | (labels >= classes)).nonzero()
    if len(outside):
        index = int(outside[0])
        label = int(labels[index])
        found = "no label" if label < 0 else f"label {label}"
        raise DeployError(f"{names[index]} has {found}: expected 0 to {classes - 1}; set --classes, or mend the data")
