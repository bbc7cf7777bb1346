"""Fitting whitening: against plain numpy, the statistics of what comes out, and the order of the images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Whitening
from wrn_deploy.training.whitening import contrast_normalized, fit_whitening

WHITENING = Whitening(images=400)
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def images() -> Pixels:
    """Smooth random images, 400 of 6x6: neighbouring pixels are alike, as in photographs."""
    noise = np.random.default_rng(0).normal(size=(400, 8, 8, 3))
    smooth = sum(noise[:, y : y + 6, x : x + 6] for y in range(3) for x in range(3))
    shifted = smooth + np.random.default_rng(1).normal(size=(400, 1, 1, 3))
    return np.asarray(np.clip(128 + 20 * shifted, 0, 255), dtype=np.uint8)


def _fit(images: Pixels, size: int = 64) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return fit_whitening((images[at : at + size] for at in range(0, len(images), size)), WHITENING, lambda _count: None)


def test_contrast_is_normalised_image_by_image(images: Pixels) -> None:
    vectors = contrast_normalized(images[:5], WHITENING)
    for image, vector in zip(images[:5], vectors, strict=True):
        plain = image.transpose(2, 0, 1).ravel() / 255.0
        plain = plain - plain.mean()
        assert vector == pytest.approx(55.0 * plain / np.linalg.norm(plain), abs=1e-9)


def test_the_fit_is_what_plain_numpy_gives(images: Pixels) -> None:
    vectors = contrast_normalized(images, WHITENING)
    values, directions = np.linalg.eigh(np.cov(vectors, rowvar=False, bias=True) + 0.1 * np.eye(vectors.shape[1]))
    mean, matrix = _fit(images)
    assert mean == pytest.approx(vectors.mean(axis=0), abs=1e-5)
    assert matrix == pytest.approx(directions @ np.diag(values**-0.5) @ directions.T, abs=1e-5)
    assert np.array_equal(matrix, matrix.T) or matrix == pytest.approx(matrix.T, abs=1e-6)


def test_what_comes_out_is_white_but_for_directions_of_little_variance(images: Pixels) -> None:
    vectors = contrast_normalized(images, WHITENING)
    variances, directions = np.linalg.eigh(np.cov(vectors, rowvar=False, bias=True))
    mean, matrix = _fit(images)
    whitened = (vectors - mean) @ matrix
    found = directions.T @ np.cov(whitened, rowvar=False, bias=True) @ directions
    assert np.abs(whitened.mean(axis=0)).max() < 1e-4
    assert np.diag(found) == pytest.approx(variances / (variances + 0.1), abs=1e-3)
    large = variances > 10.0
    assert large.sum() > 20
    assert np.abs(found[np.ix_(large, large)] - np.eye(large.sum())).max() < 0.011
    assert np.diag(found)[0] == pytest.approx(0.0, abs=1e-6)  # contrast normalisation takes the mean away


def test_the_size_of_the_batches_changes_nothing_to_speak_of(images: Pixels) -> None:
    for one, other in zip(_fit(images), _fit(images, 7), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_one_image_is_too_few(images: Pixels) -> None:
    with pytest.raises(DeployError, match="1 images to fit whitening on: expected at least 2"):
        _fit(images[:1])
