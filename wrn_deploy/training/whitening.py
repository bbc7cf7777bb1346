"""Fits the mean and the matrix of ZCA whitening on training images in constant memory; numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DeployError
from wrn_deploy.spec import Whitening

__all__ = ["LIMIT", "contrast_normalized", "fit_whitening"]

LIMIT = 50_000  # images, as many as CIFAR has; more hardly change a matrix of 3072x3072

Floats = npt.NDArray[np.float64]


def contrast_normalized(images: npt.NDArray[np.uint8], whitening: Whitening) -> Floats:
    """Global contrast normalisation: pixels (N, H, W, 3) -> vectors (N, 3 * H * W), channels first.

    Subtracts each image's own mean and scales it to the length `whitening.scale`; an image of one colour becomes zeros.
    """
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1).astype(np.float64) / 255.0
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    normalized: Floats = flat * (whitening.scale / np.maximum(lengths, whitening.min_length))
    return normalized


def fit_whitening(
    batches: Iterable[npt.NDArray[np.uint8]], whitening: Whitening, advance: Callable[[int], None]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The mean (D,) and the matrix (D, D) = (covariance + bias)^(-1/2) of contrast-normalised images.

    The covariance is divided by the number of images, as in pylearn2's ZCA. With its eigenvectors V and eigenvalues d,
    the matrix is V diag(1 / sqrt(d + bias)) V^T: symmetric, in all directions, and with a gain of at most
    1 / sqrt(bias) in those in which images hardly differ.

    Args:
        batches: pixels, (N, H, W, 3) each.
        whitening: scale and bias.
        advance: called with the number of images seen.

    Raises:
        DeployError: there are fewer than two images.
    """
    count, total, products = 0, np.zeros(0), np.zeros((0, 0))
    for images in batches:
        vectors = contrast_normalized(images, whitening)
        if not count:
            total, products = np.zeros(vectors.shape[1]), np.zeros((vectors.shape[1], vectors.shape[1]))
        total += vectors.sum(axis=0)
        products += vectors.T @ vectors
        count += len(vectors)
        advance(len(vectors))
    if count < 2:
        raise DeployError(f"{count} images to fit whitening on: expected at least 2")
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)
    matrix = (vectors / np.sqrt(np.maximum(values, 0.0) + whitening.bias)) @ vectors.T
    return mean.astype(np.float32), matrix.astype(np.float32)
