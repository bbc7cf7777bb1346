"""The paper's schedule, and what augmentation may and may not do to an image."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.training.recipe import Recipe, augment

Images = npt.NDArray[np.uint8]


@pytest.fixture
def images() -> Images:
    """Noise: no two of its crops, mirrored or not, are alike."""
    return np.random.default_rng(0).integers(0, 256, (64, 12, 10, 3), dtype=np.uint8)


def _drops(recipe: Recipe) -> list[int]:
    rates = [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)]
    return [epoch for epoch in range(1, recipe.epochs) if rates[epoch] != rates[epoch - 1]]


def test_the_defaults_are_the_papers() -> None:
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.weight_decay) == (200, 128, 0.9, 5e-4)
    assert (recipe.learning_rate, recipe.drop, recipe.shift, recipe.mirror) == (0.1, 0.2, 4, True)


def test_the_learning_rate_drops_by_5_at_epochs_60_120_and_160_of_200() -> None:
    recipe = Recipe()
    assert _drops(recipe) == [60, 120, 160]
    rates = [recipe.learning_rate_at(epoch) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008], rtol=1e-12)


@pytest.mark.parametrize("tens", [1, 2, 3, 7, 11, 13, 100])
def test_the_drops_stand_at_the_same_shares_of_any_length(tens: int) -> None:
    assert _drops(Recipe(epochs=10 * tens)) == [3 * tens, 6 * tens, 8 * tens]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5])
def test_a_short_run_starts_at_the_full_rate(epochs: int) -> None:
    assert Recipe(epochs=epochs).learning_rate_at(0) == 0.1


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
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused_with_their_value(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        Recipe(**options)
    assert str(next(iter(options.values()))) in str(error.value)
    assert "expected" in str(error.value)


def _crops(image: Images, recipe: Recipe) -> dict[bytes, tuple[int, int, bool]]:
    """Every crop that augmentation may make -> (down, right, mirrored)."""
    border = ((recipe.shift, recipe.shift), (recipe.shift, recipe.shift), (0, 0))
    padded = np.pad(image, border, mode="reflect")
    rows, columns = image.shape[:2]
    steps = range(2 * recipe.shift + 1)
    return {
        (crop[:, ::-1] if mirrored else crop).tobytes(): (top - recipe.shift, left - recipe.shift, mirrored)
        for top in steps
        for left in steps
        for mirrored in (False, True)
        for crop in [padded[top : top + rows, left : left + columns]]
    }


def _moves(images: Images, recipe: Recipe, seed: int = 0) -> list[tuple[int, int, bool]]:
    """How each image was moved; fails where the result is no crop of the reflected image."""
    made = augment(images, recipe, np.random.default_rng(seed))
    assert made.shape == images.shape
    assert made.dtype == np.uint8
    return [_crops(image, recipe)[result.tobytes()] for image, result in zip(images, made, strict=True)]


def test_an_image_is_shifted_by_up_to_the_border_and_mirrored_in_half_of_the_cases(images: Images) -> None:
    moves = [move for seed in range(20) for move in _moves(images, Recipe(shift=2), seed)]
    for axis in (0, 1):
        shifts, counts = np.unique([move[axis] for move in moves], return_counts=True)
        assert shifts.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 0.8 * len(moves) / 5
    assert 0.45 < np.mean([move[2] for move in moves]) < 0.55


def test_without_mirroring_no_image_is_mirrored(images: Images) -> None:
    assert not any(mirrored for *_, mirrored in _moves(images, Recipe(mirror=False)))
    assert any(mirrored for *_, mirrored in _moves(images, Recipe(mirror=True)))


def test_without_mirroring_the_shifts_are_the_same(images: Images) -> None:
    mirrored, plain = (_moves(images, Recipe(mirror=mirror)) for mirror in (True, False))
    assert [move[:2] for move in mirrored] == [move[:2] for move in plain]


def test_without_shift_and_mirroring_nothing_changes(images: Images) -> None:
    recipe = Recipe(shift=0, mirror=False)
    np.testing.assert_array_equal(augment(images, recipe, np.random.default_rng(0)), images)


def test_the_border_is_a_reflection() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, None, :, None], (200, 8, 8, 3)).copy()
    made = augment(ramp, Recipe(shift=2, mirror=False), np.random.default_rng(0))
    rows = {tuple(image[0, :, 0].tolist()) for image in made}
    assert (2, 1, 0, 1, 2, 3, 4, 5) in rows
    assert (2, 3, 4, 5, 6, 7, 6, 5) in rows
    assert len(rows) == 5


def test_the_images_themselves_are_left_alone_and_a_seed_repeats(images: Images) -> None:
    kept = images.copy()
    first, second, other = (augment(images, Recipe(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(images, kept)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_shift_wider_than_the_image_is_reflected_again_and_again(images: Images) -> None:
    assert augment(images[:, :3, :2], dataclasses.replace(Recipe(), shift=9), np.random.default_rng(0)).shape[1] == 3
