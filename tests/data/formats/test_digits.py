"""The digits that come with the package are scikit-learn's."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from wrn_deploy.data import Role, open_data


def test_the_embedded_digits_are_those_of_scikit_learn() -> None:
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    bunch = load_digits()
    with resources.files("wrn_deploy.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        assert arrays["images"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["images"], bunch.images)
        np.testing.assert_array_equal(arrays["labels"], bunch.target)


def test_every_fifth_image_is_for_tests() -> None:
    train = {item.name for item in open_data("digits", Role.TRAIN).items()}
    test = {item.name for item in open_data("digits", Role.TEST).items()}
    assert test == {f"digit {index}" for index in range(4, 1797, 5)}
    assert len(train) + len(test) == 1797
    assert not train & test


def test_both_splits_have_every_class() -> None:
    for role in Role:
        assert {item.label for item in open_data("digits", role).items()} == set(range(10))


def test_digits_have_names_and_are_not_mirrored() -> None:
    source = open_data("digits", Role.TEST)
    assert source.labels == tuple("0123456789")
    assert not source.mirror


def test_an_image_is_grey_and_uses_the_whole_range() -> None:
    images = np.stack([item.load() for item in open_data("digits", Role.TEST).items()])
    assert (images[..., 0] == images[..., 1]).all()
    assert (images[..., 0] == images[..., 2]).all()
    assert (images.min(), images.max()) == (0, 255)


def test_enlarging_keeps_the_picture() -> None:
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    image = next(iter(open_data("digits", Role.TRAIN).items())).load()[..., 0].astype(np.float64)
    small = image.reshape(8, 4, 8, 4).mean(axis=(1, 3)) * 16 / 255
    assert np.abs(small - load_digits().images[0]).mean() < 1.0
