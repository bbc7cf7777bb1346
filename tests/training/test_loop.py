"""The loop itself, on a network small enough to follow: what it learns from, in which order, and when it gives up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wrn_deploy.data import Item
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.images import CACHE_BYTES, ImageOptions, Images, open_images
from wrn_deploy.training.loop import Epoch, Trainer
from wrn_deploy.training.recipe import TrainRecipe

PREPROCESSING = Preprocessing(height=4, width=4, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@dataclass
class Shades:
    """Grey images; dark ones are class 0, light ones class 1. Notes the orders it was read in."""

    values: list[int]
    classes: list[int | None]
    name: str = "shades"
    labels: tuple[str, ...] = ("dark", "light")
    mirror: bool = True
    orders: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        indices = list(range(len(self))) if order is None else order.permutation(len(self)).tolist()
        self.orders.append(indices)
        for index in indices:
            image = np.full((4, 4, 3), self.values[index], dtype=np.uint8)
            yield Item(f"shade {index}", self.classes[index], lambda image=image: image)  # type: ignore[misc]


def shades(count: int) -> Shades:
    values = [
        int(value)
        for value in np.concatenate([np.linspace(0, 80, count - count // 2), np.linspace(175, 255, count // 2)])
    ]
    return Shades(values, [int(value > 127) for value in values])


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


def _linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


def _images(source: Shades, cache_bytes: int = CACHE_BYTES) -> Images:
    return open_images(source, ImageOptions(preprocessing=PREPROCESSING, classes=2), cache_bytes=cache_bytes)


def _recipe(**options: Any) -> TrainRecipe:
    return TrainRecipe(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.05, **options})


def _trainer(train: Shades, test: Shades | None = None, network: nn.Module | None = None, **options: Any) -> Trainer:
    return Trainer(network or _network(), _recipe(**options), _images(train), _images(test or shades(10)))


def _streaming(train: Shades, test: Shades | None = None, **options: Any) -> Trainer:
    return Trainer(_network(), _recipe(**options), _images(train, 0), _images(test or shades(10), 0))


def _run(trainer: Trainer, first: int = 0) -> list[Epoch]:
    return list(trainer.run(first, lambda _images: None))


def test_it_learns() -> None:
    epochs = _run(_trainer(shades(64), network=_linear(), epochs=6))
    assert [epoch.epoch for epoch in epochs] == list(range(6))
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert epochs[-1].test_loss is not None
    assert epochs[-1].test_loss < 0.5
    assert all(epoch.seconds and epoch.images_per_s and epoch.peak_bytes for epoch in epochs)
    assert all(epoch.train_top5 is None and epoch.test_top5 is None for epoch in epochs)
    assert epochs[-1].train_top1 == epochs[-1].test_top1 == 1.0


def test_streamed_and_cached_images_are_learned_from_alike() -> None:
    for make in (_trainer, _streaming):
        epochs = _run(make(shades(64), epochs=4))
        assert epochs[-1].train_top1 > 0.9
        assert epochs[-1].test_top1 == 1.0


def test_each_epoch_takes_every_image_once_in_another_order() -> None:
    train = shades(30)
    _run(_streaming(train))
    assert all(sorted(order) == list(range(30)) for order in train.orders)
    assert len({tuple(order) for order in train.orders}) == 3


def test_the_order_comes_from_the_seed_and_the_number_of_the_epoch() -> None:
    orders = {}
    for seed, first in ((0, 0), (0, 2), (1, 0)):
        train = shades(30)
        _run(_streaming(train, seed=seed), first)
        orders[seed, first] = train.orders
    assert orders[0, 2] == orders[0, 0][2:]
    assert orders[1, 0] != orders[0, 0]


def test_the_schedule_reaches_the_optimizer() -> None:
    trainer = _trainer(shades(16), epochs=10)
    rates = []
    for epoch in trainer.run(0, lambda _images: None):
        rates.append(epoch.learning_rate)
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {epoch.learning_rate}
    assert rates == [trainer.recipe.learning_rate_at(epoch) for epoch in range(10)]
    assert rates[-1] == pytest.approx(0.05 * 0.2**3)


def test_one_step_is_that_of_sgd_with_nesterov_momentum_and_decay() -> None:
    network, train = _linear(), Shades([10, 240], [0, 1])
    trainer = _trainer(train, network=network, epochs=1, shift=0, weight_decay=0.01)
    layer = network.get_submodule("1")
    assert isinstance(layer, nn.Linear)
    weights = layer.weight.detach().clone()
    images = torch.tensor([[(value / 255 - 0.5) / 0.25] * 48 for value in train.values])
    loss = nn.functional.cross_entropy(network(images), torch.tensor([0, 1]))
    gradient = torch.autograd.grad(loss, layer.weight)[0] + 0.01 * weights
    _run(trainer)
    torch.testing.assert_close(layer.weight.detach(), weights - 0.05 * (1 + 0.9) * gradient)


def test_the_progress_counts_each_image() -> None:
    seen: list[int] = []
    list(_trainer(shades(20), shades(10), epochs=2).run(0, seen.append))
    assert sum(seen) == 2 * (20 + 10)


def test_testing_changes_neither_weights_nor_statistics() -> None:
    states = []
    for count in (2, 50):
        trainer = _trainer(shades(30), shades(count))
        _run(trainer)
        states.append(trainer.network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_last_batch_of_one_image_is_left_out_because_bn_has_no_variance() -> None:
    seen: list[int] = []
    epochs = list(_trainer(shades(9), shades(2), epochs=1).run(0, seen.append))
    assert seen == [8, 2]
    assert np.isfinite(epochs[0].loss)


def test_one_image_is_too_few() -> None:
    with pytest.raises(DeployError, match="shades has too few images to train on: expected at least 2"):
        _run(_trainer(shades(1)))


@pytest.mark.parametrize(
    ("label", "text"),
    [(2, "shade 3 has label 2: expected 0 to 1; set --classes"), (None, "shade 3 has no label: expected 0 to 1")],
)
@pytest.mark.parametrize("in_test", [False, True])
@pytest.mark.parametrize("make", [_trainer, _streaming])
def test_a_label_that_cannot_be_is_reported_with_its_image(
    label: int | None, text: str, in_test: bool, make: Callable[..., Trainer]
) -> None:
    wrong = shades(10)
    wrong.classes[3] = label
    with pytest.raises(DeployError, match=text):
        _run(make(shades(10), wrong) if in_test else make(wrong))


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(
        DeployError, match=r"the loss became (nan|inf) in epoch \d: training diverged; lower the learning"
    ):
        _run(_trainer(shades(64), learning_rate=1e30, epochs=9))


def test_statistics_that_are_not_finite_end_the_run_although_the_loss_is() -> None:
    network = _network()
    network.get_buffer("1.running_var").fill_(float("inf"))
    trainer = _trainer(shades(64), network=network)
    with pytest.raises(DeployError, match=r"1\.running_var became NaN or infinite in epoch 1: training diverged"):
        _run(trainer)


def test_an_epoch_is_handed_over_before_the_next_begins() -> None:
    train = shades(16)
    steps = _streaming(train).run(0, lambda _images: None)
    for count, _epoch in enumerate(itertools.islice(steps, 2), start=1):
        assert len(train.orders) == count
