"""The digest of a set of images tells sets apart, and nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tests.data.made import Pixels
from wrn_deploy.data.sampling.digest import DataDigest, image_digest


def _digest(*batches: Pixels) -> str:
    digest = DataDigest()
    for batch in batches:
        digest.add(batch)
    return digest.hexdigest()


def test_order_and_batch_size_do_not_matter(digit_images: Pixels) -> None:
    whole = _digest(digit_images)
    assert _digest(*np.array_split(digit_images, 7)) == whole
    assert _digest(np.random.default_rng(0).permutation(digit_images)) == whole


def test_a_changed_missing_or_doubled_image_matters(digit_images: Pixels) -> None:
    changed = digit_images.copy()
    changed[3, 0, 0, 0] ^= 1
    others = {_digest(changed), _digest(digit_images[1:]), _digest(digit_images, digit_images[:1])}
    assert len(others) == 3
    assert _digest(digit_images) not in others


def test_the_shape_matters_and_the_layout_in_memory_does_not() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert image_digest(image) != image_digest(image.reshape(4, 2, 3))
    assert image_digest(image) == image_digest(np.asfortranarray(image))


def test_the_digest_is_the_documented_one() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    shape = b"".join(number.to_bytes(8, "little") for number in (2, 4, 3))
    expected = hashlib.sha256(shape + bytes(range(24))).digest()
    assert image_digest(image) == expected
    assert _digest(image[np.newaxis]) == hashlib.sha256(expected).hexdigest()


def test_more_can_be_added_after_a_digest_was_taken(digit_images: Pixels) -> None:
    digest = DataDigest()
    digest.add(digit_images[:10])
    first = digest.hexdigest()
    digest.add(digit_images[10:])
    assert first != digest.hexdigest() == _digest(digit_images)
    assert len(digest) == len(digit_images)


@pytest.mark.parametrize("image", [np.zeros((2, 2, 3), dtype=np.float32), np.zeros((2, 2), dtype=np.uint8)])
def test_only_uint8_images_have_a_digest(image: Pixels) -> None:
    with pytest.raises(AssertionError):
        image_digest(image)
