"""The training loop, one epoch after another, exactly resumable; torch only, no files and no model names."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.training.execution.device import TrainDevice, cpu_device
from wrn_deploy.training.execution.network import equalize_statistics
from wrn_deploy.training.execution.options import Amp
from wrn_deploy.training.execution.processes import ProcessGroup
from wrn_deploy.training.images import DeviceBatch, Images
from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["Epoch", "Trainer"]

TEST_BATCH = 256
CHECK_EVERY = 32  # steps; reading a number from the GPU after each would leave it idle
TOP5_CLASSES = 100  # the fewest classes for a top-5
DROPOUT = 2  # the stream of random numbers for it; `images.py` has the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The results of one epoch.

    Args:
        epoch: its number, from 0.
        learning_rate: of its last step.
        loss: mean during training, as the recipe defines it.
        train_top1: top-1 (0..1) on training images, during training.
        test_top1: top-1 (0..1) on test images, after the epoch.
        train_top5: None below 100 classes.
        test_top5: None below 100 classes.
        test_loss: mean cross entropy of the test images, without smoothing.
        seconds: duration of the epoch, including the test.
        images_per_s: training images per second, without the test; all processes together.
        peak_bytes: see `TrainDevice.peak_bytes`.
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

    All randomness of an epoch (order, augmentation, dropout) comes from the recipe's seed and the epoch's number. A run
    that was interrupted between two epochs therefore continues exactly.

    Example:
        >>> trainer = Trainer(build_model(spec), TrainRecipe(epochs=1), train, test)
        >>> [epoch.test_top1 for epoch in trainer.run(0, lambda images: None)]
    """

    def __init__(
        self, network: nn.Module, recipe: TrainRecipe, train: Images, test: Images, device: TrainDevice | None = None
    ) -> None:
        self.device = device or cpu_device()
        size, processes = recipe.batch_size, self.device.processes.shard.size
        if size % processes or size < 2 * processes:
            raise UsageError(
                f"batches of {size} in {processes} processes: expected a multiple, at least two images per process; "
                "change --batch-size"
            )
        self.network = self.device.prepare(network)
        self.recipe = recipe
        self.optimizer = _optimizer(self.network, recipe, self.device)
        self.scaler = torch.amp.GradScaler(self.device.torch_device.type, enabled=self.device.execution.amp is Amp.FP16)
        self.train, self.test = train, test
        self._wrapped = self.device.processes.wrap(self.network)

    def run(self, first: int, advance: Callable[[int], None]) -> Iterator[Epoch]:
        """Trains from epoch `first` (counted from 0) to the last; calls `advance` with the number of images seen.

        Raises:
            DeployError: the loss or what was learned is not finite, or a label is outside the network's classes.
        """
        for epoch in range(first, self.recipe.epochs):
            self.device.start_peak()
            start = time.perf_counter()
            with self.device.kernels():
                trained = self._train_epoch(epoch, advance)
                train_seconds = time.perf_counter() - start
                self._check_state(epoch)
                tested = self._evaluate(advance)
            yield Epoch(
                epoch=epoch,
                learning_rate=self.optimizer.param_groups[0]["lr"],
                loss=trained.loss,
                train_top1=trained.top1,
                test_top1=tested.top1,
                train_top5=trained.top5,
                test_top5=tested.top5,
                test_loss=tested.loss,
                seconds=round(time.perf_counter() - start, 3),
                images_per_s=round(trained.images / train_seconds, 1),
                peak_bytes=self.device.peak_bytes(),
            )

    def _train_epoch(self, epoch: int, advance: Callable[[int], None]) -> _Metrics:
        processes = self.device.processes
        random = np.random.default_rng([self.recipe.seed, epoch, DROPOUT])
        torch.manual_seed(int(random.integers(2**62)) + processes.shard.rank)
        self.network.train()
        sums = _MetricSums(self.device.torch_device)
        steps = math.ceil(len(self.train) / self.recipe.batch_size)
        for step, batch in enumerate(self.train.train_batches(self.recipe, epoch, processes.shard)):
            if batch.batch_size < 2 * processes.shard.size:  # BN has no variance over one image
                continue
            rate = self.recipe.learning_rate_at(epoch + (step + 0.5) / steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self._step(batch, sums)
            if step % CHECK_EVERY == CHECK_EVERY - 1:
                _check_loss(sums, epoch)
            advance(batch.batch_size)
        _check_loss(sums, epoch)
        if not self.device.execution.sync_norms and processes.shard.size > 1:
            equalize_statistics(self.network, processes)
        metrics = sums.metrics(processes)
        if metrics is None:
            raise DeployError(
                f"{self.train.name} has too few images to train on: expected at least {2 * processes.shard.size}"
            )
        return metrics

    def _step(self, batch: DeviceBatch, sums: _MetricSums) -> None:
        processes = self.device.processes
        # BN needs two images; the same number of parts in all processes.
        parts = min(self.device.execution.accumulate, batch.batch_size // processes.shard.size // 2)
        pieces = zip(batch.images.tensor_split(parts), batch.labels.tensor_split(parts), strict=True)
        self.optimizer.zero_grad()
        for index, (images, labels) in enumerate(pieces):
            with self.device.autocast():
                logits = self._wrapped(self.device.arrange(images))
                loss = functional.cross_entropy(
                    logits.float(), labels, reduction="sum", label_smoothing=self.recipe.label_smoothing
                )
            # DDP averages the processes' gradients, and the batch's loss is the mean over all of its images.
            scaled = self.scaler.scale(loss * (processes.shard.size / batch.batch_size))
            with contextlib.nullcontext() if index + 1 == parts else processes.no_sync(self._wrapped):
                scaled.backward()  # type: ignore[no-untyped-call]
            sums.add(loss, logits, labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _check_state(self, epoch: int) -> None:
        """A loss can stay finite while BN's running statistics do not, since only inference uses them."""
        for name, tensor in self.network.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise DeployError(_diverged(f"{name} became NaN or infinite", epoch))

    def _evaluate(self, advance: Callable[[int], None]) -> _Metrics:
        """In the same precision as training."""
        self.network.eval()
        sums = _MetricSums(self.device.torch_device)
        with torch.inference_mode(), self.device.autocast():
            for batch in self.test.test_batches(TEST_BATCH, self.device.processes.shard):
                logits = self.network(self.device.arrange(batch.images))
                loss = functional.cross_entropy(logits.float(), batch.labels, reduction="sum")
                sums.add(loss, logits, batch.labels)
                advance(batch.batch_size)
        metrics = sums.metrics(self.device.processes)
        assert metrics is not None, "a source without images cannot be opened"
        return metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metrics:
    """Over `images` images: mean loss, and top-1 and top-5 (0..1); `top5` is None below 100 classes."""

    images: int
    loss: float
    top1: float
    top5: float | None


class _MetricSums:
    """Sums of loss, correct answers, labels among the best five, and images; on the device, so that no step waits."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)
        self._has_top5 = False

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Adds the sum of the losses, logits (N, classes) and labels (N,) of some images."""
        logits = logits.detach()
        self._has_top5 = logits.shape[1] >= TOP5_CLASSES
        top1 = (logits.argmax(1) == labels).sum()
        top5 = (logits.topk(5).indices == labels[:, None]).sum() if self._has_top5 else top1
        count = torch.full_like(top1, len(labels))
        self._sums += torch.stack([loss.detach().double(), top1.double(), top5.double(), count.double()])

    def loss(self) -> float:
        """The sum of the losses so far in this process; waits for the device."""
        return float(self._sums[0])

    def metrics(self, processes: ProcessGroup) -> _Metrics | None:
        """The means over all processes; None without images."""
        loss, top1, top5, count = processes.sum(self._sums).tolist()
        if not count:
            return None
        return _Metrics(
            images=int(count), loss=loss / count, top1=top1 / count, top5=top5 / count if self._has_top5 else None
        )


def _optimizer(network: nn.Module, recipe: TrainRecipe, device: TrainDevice) -> torch.optim.SGD:
    """SGD; without `decay_norms`, weight decay applies only to parameters with more than one dimension."""
    parameters = list(network.parameters())
    groups: list[dict[str, Any]] = [{"params": [each for each in parameters if recipe.decay_norms or each.ndim > 1]}]
    if not recipe.decay_norms:
        groups.append({"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0})
    return torch.optim.SGD(
        groups,
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=device.torch_device.type == "cuda" or None,
    )


def _check_loss(sums: _MetricSums, epoch: int) -> None:
    loss = sums.loss()
    if not math.isfinite(loss):
        raise DeployError(_diverged(f"the loss became {loss}", epoch))


def _diverged(symptom: str, epoch: int) -> str:
    return f"{symptom} in epoch {epoch + 1}: training diverged; lower the learning rate (--lr)"
