"""The named recipes have the published numbers, and each says where they are from."""

from __future__ import annotations

import numpy as np
import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.training.recipe import DEFAULT, RECIPES, LearningRateSchedule, TrainRecipe, find_recipe


def _drops(recipe: TrainRecipe) -> list[int]:
    rates = [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)]
    return [epoch for epoch in range(1, recipe.epochs) if rates[epoch] != rates[epoch - 1]]


def test_the_paper_is_the_default_and_has_the_defaults() -> None:
    assert DEFAULT == "paper"
    assert find_recipe("paper").recipe == TrainRecipe()


def test_the_svhn_recipe_is_the_papers() -> None:
    """scripts/train_svhn.sh: rate 0.01 x 0.1 at 80 and 120 of 160, dropout 0.4, no flips, no crops; images / 255."""
    named = find_recipe("svhn")
    recipe = named.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay, recipe.momentum) == (160, 128, 5e-4, 0.9)
    assert _drops(recipe) == [80, 120]
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 80, 120)]
    np.testing.assert_allclose(rates, [0.01, 0.001, 0.0001], rtol=1e-12)
    assert (recipe.mirror, recipe.shift, named.dropout) == (False, 0, 0.4)
    assert (named.mean, named.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_the_imagenet_recipe_is_that_of_fb_resnet_torch() -> None:
    """A tenth every 30 of 90 epochs, decay 1e-4, 256 images; crops of random size, jitter 0.4, lighting 0.1."""
    named = find_recipe("imagenet")
    recipe = named.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (90, 256, 1e-4)
    assert _drops(recipe) == [30, 60]
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 30, 60)]
    np.testing.assert_allclose(rates, [0.1, 0.01, 0.001], rtol=1e-12)
    assert (recipe.resized_crop, recipe.shift, recipe.mirror, recipe.jitter, recipe.lighting) == (
        *(True, 0, True),
        *(0.4, 0.1),
    )
    assert named.mean == (0.485, 0.456, 0.406)
    assert named.std == (0.229, 0.224, 0.225)


def test_the_short_recipe_is_one_cycle_of_10_to_30_epochs() -> None:
    recipe = find_recipe("one-cycle").recipe
    assert recipe.schedule is LearningRateSchedule.ONE_CYCLE
    assert 10 <= recipe.epochs <= 30
    assert max(recipe.learning_rate_at(epoch / 4) for epoch in range(4 * recipe.epochs)) == recipe.learning_rate


@pytest.mark.parametrize("name", [*RECIPES])
def test_every_recipe_has_a_source(name: str) -> None:
    assert "github.com" in RECIPES[name].source or "arXiv" in RECIPES[name].source


def test_a_recipe_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'papre'.*paper.*: expected one of paper, svhn"):
        find_recipe("papre")
