"""Pictures are PNG files with the very pixels, or smaller ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from wrn_deploy.data.picture import to_png


@pytest.mark.parametrize(("shape", "size"), [((32, 32), (32, 32)), ((96, 60), (60, 96)), ((224, 112), (48, 96))])
def test_a_picture_has_the_image_s_pixels_or_is_made_smaller(shape: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    with Image.open(io.BytesIO(to_png(image, 96))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
        if size == shape[::-1]:
            np.testing.assert_array_equal(np.asarray(picture), image)
