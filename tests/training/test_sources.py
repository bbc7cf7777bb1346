"""Crops of random size: where they may lie, what they show, and that a seed repeats them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.test_loop import shades
from wrn_deploy.spec import Preprocessing
from wrn_deploy.training.execution.processes import BatchShard
from wrn_deploy.training.images import ImageOptions, open_images
from wrn_deploy.training.recipe import TrainRecipe
from wrn_deploy.training.sources import MIN_AREA, CropSource, crop_box


@pytest.mark.parametrize(("rows", "columns"), [(100, 100), (80, 120), (375, 500)])
def test_boxes_lie_within_the_image_and_have_the_areas_and_shapes_that_are_wanted(rows: int, columns: int) -> None:
    random = np.random.default_rng(0)
    boxes = [crop_box(rows, columns, random) for _ in range(2000)]
    found = np.array([box for box in boxes if box is not None])
    assert len(found) > 1900
    left, top, right, bottom = found.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= columns
    assert bottom.max() <= rows
    wide, high = right - left, bottom - top
    areas = wide * high / (rows * columns)
    assert MIN_AREA * 0.95 < areas.min() < 0.12
    assert 0.85 < areas.max() <= 1.0
    # fb.resnet.torch multiplies one side by the ratio and divides the other by it, so that their ratio is its square
    assert np.quantile(wide / high, [0.01, 0.99]) == pytest.approx([9 / 16, 16 / 9], rel=0.1)


def test_an_image_that_no_box_fits_gives_its_centre() -> None:
    assert crop_box(1, 3000, np.random.default_rng(0)) is None
    cropped = CropSource(shades(2), 4, 4, np.random.default_rng(0))
    assert all(item.load().shape == (4, 4, 3) for item in cropped.items())


def test_training_takes_crops_of_the_input_size_in_an_order_that_a_seed_repeats() -> None:
    preprocessing = Preprocessing(height=2, width=2, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), resize=3)
    recipe = TrainRecipe(epochs=2, batch_size=8, shift=0, resized_crop=True, jitter=0.4, lighting=0.1)
    taken = []
    for epoch in (0, 0, 1):
        images = open_images(shades(20), ImageOptions(preprocessing=preprocessing, classes=2), cache_bytes=0)
        taken.append([batch.images for batch in images.train_batches(recipe, epoch, BatchShard())])
        assert [tuple(batch.shape) for batch in taken[-1]] == [(8, 3, 2, 2), (8, 3, 2, 2), (4, 3, 2, 2)]
    first, second, other = (np.concatenate([each.numpy() for each in batches]) for batches in taken)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
