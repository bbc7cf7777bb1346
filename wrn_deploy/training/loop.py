"""The training loop: one epoch after another, exactly resumable; knows torch, nothing of files or models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.training.execution.batch_norm import equalize_statistics
from wrn_deploy.training.execution.device import Place, cpu_place
from wrn_deploy.training.execution.options import Amp
from wrn_deploy.training.images import Images, Ready
from wrn_deploy.training.metrics import Score, Tally
from wrn_deploy.training.recipe import Recipe

__all__ = ["Epoch", "Trainer"]

TEST_BATCH = 256
LOOK_EVERY = 32  # steps; asking the GPU for a number after each would leave it idle
DROPOUT = 2  # the stream of random numbers for it; `images.py` has the others


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave.

    Args:
        epoch: its number, from 0.
        learning_rate: of its last step.
        loss: mean while training, as the recipe defines it.
        train_top1: the share (0..1) of images answered rightly while training.
        test_top1: likewise of the test images, after the epoch.
        train_top5: None below 100 classes.
        test_top5: likewise.
        test_loss: mean cross entropy of the test images, without smoothing.
        seconds: what the epoch took, testing included.
        images_per_s: training images a second, without testing; all processes together.
        peak_bytes: see `Place.peak_bytes`.
    """

    epoch: int
    learning_rate: float
    loss: float
    train_top1: float
    test_top1: float
    train_top5: float | None = None
    test_top5: float | None = None
    test_loss: float | None = None
    seconds: float | None = None
    images_per_s: float | None = None
    peak_bytes: int | None = None


class Trainer:
    """A network, its optimizer, and the images.

    All randomness of an epoch (order, augmentation, dropout) is drawn from the recipe's seed and the epoch's number, so
    a run that was interrupted between two epochs goes on as if it had not been.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, train: Images, test: Images, place: Place | None = None
    ) -> None:
        self.place = place or cpu_place()
        _check_batch(recipe.batch_size, self.place.team.share.size)
        self.network = self.place.prepare(network)
        self.recipe = recipe
        self.optimizer = _optimizer(self.network, recipe, self.place)
        self.scaler = torch.amp.GradScaler(self.place.device.type, enabled=self.place.execution.amp is Amp.FP16)
        self._train = train
        self._test = test
        self._wrapped = self.place.team.wrap(self.network)

    def run(self, first: int, advance: Callable[[int], None]) -> Iterator[Epoch]:
        """Trains from epoch `first` (counted from 0) to the recipe's last; `advance` is told of images seen.

        Raises:
            DeployError: the loss or what was learned is not finite, or a label is outside the network's classes.
        """
        for epoch in range(first, self.recipe.epochs):
            self.place.start_peak()
            start = time.perf_counter()
            with self.place.kernels():
                score = self._train_epoch(epoch, advance)
                trained = time.perf_counter() - start
                self._check_state(epoch)
                tested = self._evaluate(advance)
            yield Epoch(
                epoch,
                self.optimizer.param_groups[0]["lr"],
                *(score.loss, score.top1, tested.top1, score.top5, tested.top5, tested.loss),
                seconds=round(time.perf_counter() - start, 3),
                images_per_s=round(score.images / trained, 1),
                peak_bytes=self.place.peak_bytes(),
            )

    def _train_epoch(self, epoch: int, advance: Callable[[int], None]) -> Score:
        team = self.place.team
        torch.manual_seed(_dropout_seed(self.recipe, epoch) + team.share.rank)
        self.network.train()
        tally = Tally(self.place.device)
        steps = math.ceil(len(self._train) / self.recipe.batch_size)
        for step, batch in enumerate(self._train.train_batches(self.recipe, epoch, team.share)):
            if batch.whole < 2 * team.share.size:  # BN has no variance over one image
                continue
            rate = self.recipe.learning_rate_at(epoch + (step + 0.5) / steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self._step(batch, tally)
            if step % LOOK_EVERY == LOOK_EVERY - 1:
                _check_loss(tally, epoch)
            advance(batch.whole)
        _check_loss(tally, epoch)
        if not self.place.execution.sync_norms and team.share.size > 1:
            equalize_statistics(self.network, team)
        score = tally.score(team)
        if score is None:
            raise DeployError(
                f"{self._train.name} has too few images to train on: expected at least {2 * team.share.size}"
            )
        return score

    def _step(self, batch: Ready, tally: Tally) -> None:
        team = self.place.team
        # BN needs two images; the same number of parts in all processes.
        parts = min(self.place.execution.accumulate, batch.whole // team.share.size // 2)
        pieces = zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True)
        self.optimizer.zero_grad()
        for index, (images, labels) in enumerate(pieces):
            with self.place.autocast():
                logits = self._wrapped(self.place.arrange(images))
                loss = functional.cross_entropy(
                    logits.float(), labels, reduction="sum", label_smoothing=self.recipe.label_smoothing
                )
            # DDP takes the mean of the processes' gradients, and the batch's loss is the mean over all of its images.
            scaled = self.scaler.scale(loss * (team.share.size / batch.whole))
            if index + 1 < parts:
                with team.apart(self._wrapped):
                    scaled.backward()  # type: ignore[no-untyped-call]
            else:
                scaled.backward()  # type: ignore[no-untyped-call]
            tally.add(loss, logits, labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _check_state(self, epoch: int) -> None:
        """A loss can stay finite while BN's statistics do not: they are used in inference only."""
        for name, tensor in self.network.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise DeployError(_diverged(f"{name} became NaN or infinite", epoch))

    def _evaluate(self, advance: Callable[[int], None]) -> Score:
        """In the same precision as training."""
        self.network.eval()
        tally = Tally(self.place.device)
        with torch.inference_mode(), self.place.autocast():
            for batch in self._test.test_batches(TEST_BATCH, self.place.team.share):
                logits = self.network(self.place.arrange(batch.images))
                loss = functional.cross_entropy(logits.float(), batch.labels, reduction="sum")
                tally.add(loss, logits, batch.labels)
                advance(batch.whole)
        score = tally.score(self.place.team)
        assert score is not None, "a source without images cannot be opened"
        return score


def _check_batch(size: int, processes: int) -> None:
    if size % processes or size < 2 * processes:
        raise UsageError(
            f"batches of {size} in {processes} processes: expected a multiple, of two images a process at least; "
            "change --batch-size"
        )


def _optimizer(network: nn.Module, recipe: Recipe, place: Place) -> torch.optim.SGD:
    """SGD; without `decay_norms` only what has more than one dimension is drawn to zero."""
    parameters = list(network.parameters())
    groups = [{"params": [each for each in parameters if recipe.decay_norms or each.ndim > 1]}]
    if not recipe.decay_norms:
        groups.append({"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0})  # type: ignore[dict-item]
    return torch.optim.SGD(
        groups,
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=place.device.type == "cuda" or None,
    )


def _dropout_seed(recipe: Recipe, epoch: int) -> int:
    return int(np.random.default_rng([recipe.seed, epoch, DROPOUT]).integers(2**62))


def _check_loss(tally: Tally, epoch: int) -> None:
    loss = tally.loss()
    if not math.isfinite(loss):
        raise DeployError(_diverged(f"the loss became {loss}", epoch))


def _diverged(what: str, epoch: int) -> str:
    return f"{what} in epoch {epoch + 1}: training diverged; lower the learning rate (--lr)"
