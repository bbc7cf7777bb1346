"""What augmentation may and may not do to an image, and that batches on the device have the pixels of a plain loop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from wrn_deploy.training.augment import GREY, Colours, Moves, change_colours, draw_moves, take_moved
from wrn_deploy.training.recipe import TrainRecipe

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def images() -> Pixels:
    """Noise: no two of its crops, mirrored or not, are alike."""
    return np.random.default_rng(0).integers(0, 256, (64, 12, 10, 3), dtype=np.uint8)


def augment(images: Pixels, recipe: TrainRecipe, random: np.random.Generator) -> Pixels:
    moves = draw_moves(recipe, len(images), random)
    return take_moved(torch.from_numpy(images), torch.arange(len(images)), moves).numpy()


def _plainly(images: Pixels, moves: Moves, shift: int) -> Pixels:
    """One image after the other: padded by reflection, cropped, mirrored."""
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="reflect")
    rows, columns = images.shape[1:3]
    made = []
    for image, (down, right), mirrored in zip(padded, moves.offsets.tolist(), moves.mirrored.tolist(), strict=True):
        crop = image[shift - down : shift - down + rows, shift - right : shift - right + columns]
        made.append(crop[:, ::-1] if mirrored else crop)
    return np.stack(made)


@pytest.mark.parametrize("shift", [0, 1, 4, 9, 30])
def test_the_same_offsets_give_the_pixels_of_a_plain_loop(images: Pixels, shift: int) -> None:
    moves = draw_moves(TrainRecipe(shift=shift), len(images), np.random.default_rng(shift))
    made = take_moved(torch.from_numpy(images), torch.arange(len(images)), moves)
    np.testing.assert_array_equal(made.numpy(), _plainly(images, moves, shift))


def test_images_are_taken_in_any_order(images: Pixels) -> None:
    index = torch.tensor([5, 0, 5, 63])
    moves = draw_moves(TrainRecipe(), 4, np.random.default_rng(0))
    made = take_moved(torch.from_numpy(images), index, moves)
    np.testing.assert_array_equal(made.numpy(), _plainly(images[index.numpy()], moves, 4))


def test_a_part_of_the_moves_is_that_of_its_images(images: Pixels) -> None:
    pixels, recipe = torch.from_numpy(images), TrainRecipe(jitter=0.4, lighting=0.1)
    moves = draw_moves(recipe, 64, np.random.default_rng(0))
    part = moves.part(slice(10, 20))
    index = torch.arange(64)
    assert torch.equal(take_moved(pixels, index, moves)[10:20], take_moved(pixels, index[10:20], part))
    assert moves.colours is not None
    assert part.colours is not None
    floats = pixels / 255
    changed = change_colours(floats, moves.colours)
    assert torch.equal(changed[10:20], change_colours(floats[10:20], part.colours))


def _crops(image: Pixels, recipe: TrainRecipe) -> dict[bytes, tuple[int, int, bool]]:
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


def _moves(images: Pixels, recipe: TrainRecipe, seed: int = 0) -> list[tuple[int, int, bool]]:
    """How each image was moved; fails where the result is no crop of the reflected image."""
    made = augment(images, recipe, np.random.default_rng(seed))
    assert made.shape == images.shape
    assert made.dtype == np.uint8
    return [_crops(image, recipe)[result.tobytes()] for image, result in zip(images, made, strict=True)]


def test_an_image_is_shifted_by_up_to_the_border_and_mirrored_in_half_of_the_cases(images: Pixels) -> None:
    moves = [move for seed in range(20) for move in _moves(images, TrainRecipe(shift=2), seed)]
    for axis in (0, 1):
        shifts, counts = np.unique([move[axis] for move in moves], return_counts=True)
        assert shifts.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 0.8 * len(moves) / 5
    assert 0.45 < np.mean([move[2] for move in moves]) < 0.55


def test_without_mirroring_no_image_is_mirrored(images: Pixels) -> None:
    assert not any(mirrored for *_, mirrored in _moves(images, TrainRecipe(mirror=False)))
    assert any(mirrored for *_, mirrored in _moves(images, TrainRecipe(mirror=True)))


def test_without_mirroring_the_shifts_are_the_same(images: Pixels) -> None:
    mirrored, plain = (_moves(images, TrainRecipe(mirror=mirror)) for mirror in (True, False))
    assert [move[:2] for move in mirrored] == [move[:2] for move in plain]


def test_without_shift_and_mirroring_nothing_changes(images: Pixels) -> None:
    recipe = TrainRecipe(shift=0, mirror=False)
    np.testing.assert_array_equal(augment(images, recipe, np.random.default_rng(0)), images)


def test_the_border_is_a_reflection() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, None, :, None], (200, 8, 8, 3)).copy()
    made = augment(ramp, TrainRecipe(shift=2, mirror=False), np.random.default_rng(0))
    rows = {tuple(image[0, :, 0].tolist()) for image in made}
    assert (2, 1, 0, 1, 2, 3, 4, 5) in rows
    assert (2, 3, 4, 5, 6, 7, 6, 5) in rows
    assert len(rows) == 5


def test_the_images_themselves_are_left_alone_and_a_seed_repeats(images: Pixels) -> None:
    kept = images.copy()
    first, second, other = (augment(images, TrainRecipe(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(images, kept)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_shift_wider_than_the_image_is_reflected_again_and_again(images: Pixels) -> None:
    assert augment(images[:, :3, :2], TrainRecipe(shift=9), np.random.default_rng(0)).shape[1] == 3


def _colours(order: list[int], factors: list[float], light: list[float]) -> Colours:
    return Colours(torch.tensor([order]), torch.tensor([factors]), torch.tensor([light]))


def test_brightness_contrast_and_saturation_are_those_of_their_definitions() -> None:
    image = torch.rand(1, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    plain = [1.0, 1.0, 1.0]
    grey = (image * torch.tensor(GREY)).sum(3, keepdim=True)
    cases = {0: 0.7 * image, 1: 0.7 * image + 0.3 * grey.mean(), 2: 0.7 * image + 0.3 * grey}
    for which, wanted in cases.items():
        others = [index for index in range(3) if index != which]
        changed = change_colours(image, _colours([which, *others], [0.7, *plain[1:]], [0.0, 0.0, 0.0]))
        torch.testing.assert_close(changed, wanted)


def test_the_order_of_the_changes_matters_and_light_is_added_last() -> None:
    image = torch.rand(1, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    light = [0.01, 0.02, 0.03]
    first = change_colours(image, _colours([0, 1, 2], [0.6, 1.4, 1.0], light))
    other = change_colours(image, _colours([1, 0, 2], [1.4, 0.6, 1.0], light))
    torch.testing.assert_close(first, other)  # brightness scales, contrast keeps the mean: these two commute
    dark = change_colours(torch.zeros_like(image), _colours([2, 1, 0], [0.6, 1.4, 1.2], light))
    torch.testing.assert_close(dark, torch.tensor(light).expand_as(dark))


def test_colours_are_drawn_within_their_bounds_and_in_every_order() -> None:
    drawn = draw_moves(TrainRecipe(jitter=0.4, lighting=0.1), 3000, np.random.default_rng(0)).colours
    assert drawn is not None
    assert drawn.factors.min() >= 0.6
    assert drawn.factors.max() <= 1.4
    assert len(torch.unique(drawn.order, dim=0)) == 6
    assert draw_moves(TrainRecipe(), 5, np.random.default_rng(0)).colours is None


def test_lighting_has_the_covariance_of_its_components() -> None:
    """Along the first component, which is nearly grey, the deviation is 0.1 x 0.2175 in all."""
    drawn = draw_moves(TrainRecipe(lighting=0.1), 20000, np.random.default_rng(0)).colours
    assert drawn is not None
    along = drawn.light @ torch.tensor([0.5675, 0.5808, 0.5836])
    assert float(along.std()) == pytest.approx(0.1 * 0.2175, rel=0.03)
