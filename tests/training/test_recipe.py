"""The paper's schedule, the one cycle, and numbers that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.training.recipe import LearningRateSchedule, TrainRecipe


def _drops(recipe: TrainRecipe) -> list[int]:
    rates = [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)]
    return [epoch for epoch in range(1, recipe.epochs) if rates[epoch] != rates[epoch - 1]]


def test_the_defaults_are_the_papers() -> None:
    recipe = TrainRecipe()
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.weight_decay) == (200, 128, 0.9, 5e-4)
    assert (recipe.learning_rate, recipe.drop, recipe.shift, recipe.mirror) == (0.1, 0.2, 4, True)


def test_the_learning_rate_drops_by_5_at_epochs_60_120_and_160_of_200() -> None:
    recipe = TrainRecipe()
    assert _drops(recipe) == [60, 120, 160]
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008], rtol=1e-12)


@pytest.mark.parametrize("tens", [1, 2, 3, 7, 11, 13, 100])
def test_the_drops_stand_at_the_same_shares_of_any_length(tens: int) -> None:
    assert _drops(TrainRecipe(epochs=10 * tens)) == [3 * tens, 6 * tens, 8 * tens]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5])
def test_a_short_run_starts_at_the_full_rate(epochs: int) -> None:
    assert TrainRecipe(epochs=epochs).learning_rate_at(0) == 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"weight_decay": -1e-4},
        {"weight_decay": float("nan")},
        {"momentum": 0.0},
        {"momentum": 1.0},
        {"shift": -1},
        {"seed": -1},
        {"seed": 2**63},
        {"warm_up": 1.0},
        {"warm_up": -0.1},
        {"label_smoothing": 1.0},
        {"jitter": 1.5},
        {"lighting": -0.1},
        {"shift": 2, "resized_crop": True},
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused_with_their_value(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        TrainRecipe(**options)
    assert str(next(iter(options.values()))) in str(error.value)
    assert "expected" in str(error.value)


ONE_CYCLE = TrainRecipe(epochs=20, learning_rate=0.4, schedule=LearningRateSchedule.ONE_CYCLE, warm_up=0.25)


def test_one_cycle_rises_to_its_peak_and_falls_to_nothing_in_straight_lines() -> None:
    rates = [ONE_CYCLE.learning_rate_at(epoch) for epoch in (0, 2.5, 5, 12.5, 20)]
    np.testing.assert_allclose(rates, [0.0, 0.2, 0.4, 0.2, 0.0], atol=1e-12)


def test_one_cycle_changes_within_an_epoch_and_steps_only_between_two() -> None:
    assert ONE_CYCLE.learning_rate_at(1.25) < ONE_CYCLE.learning_rate_at(1.75)
    steps = TrainRecipe(epochs=7)  # 30 % of them are 2.1 epochs
    assert {steps.learning_rate_at(2 + part) for part in (0.0, 0.05, 0.5, 0.99)} == {0.1}
    assert steps.learning_rate_at(3.0) == pytest.approx(0.02)


def test_without_a_warm_up_one_cycle_starts_at_its_peak() -> None:
    assert TrainRecipe(epochs=4, schedule=LearningRateSchedule.ONE_CYCLE).learning_rate_at(0.0) == 0.1
