"""Measures whether the first Convs are nearer to fp32 with the pixels' own codes than with a quantized image."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.moments import ConvInput
from wrn_deploy.calib.rounding.feedback import round_with_feedback
from wrn_deploy.calib.rounding.inputs import conv_input
from wrn_deploy.calib.writing.exact_input import UNIT, pixel_codes, pixel_weights, reads_pixels
from wrn_deploy.calib.writing.qdq import INT8, Floats, weight_scale
from wrn_deploy.graph import parameter
from wrn_deploy.spec import Preprocessing

__all__ = ["exact_input_pays"]

WINDOWS = 256  # of each image

Images = npt.NDArray[np.float32]


def exact_input_pays(graph: ir.Graph, preprocessing: Preprocessing, images: Iterable[Images], amax: float) -> bool:
    """Whether the outputs of the Convs that read the images have a smaller squared error with the exact input.

    The exact input has no error of its own, but its fourth channel shares the weights' scales: for images far from
    mid-grey it coarsens the other weights, and may cost more than it gives.

    Args:
        graph: the fp32 graph.
        preprocessing: of the images.
        images: a few, normalised, (1, 3, H, W) each.
        amax: the magnitude that int8's 127 stands for in a quantized image.
    """
    pixels, shown, convs = pixel_codes(preprocessing), [*images], reads_pixels(graph)
    plain = exact = 0.0
    for conv in convs:
        weights, step = parameter(conv, 1), amax / INT8.largest
        quantized, own = conv_input(conv, step), conv_input(conv, 1.0, pixels)
        read = _windows(quantized, shown)
        wanted = _outputs(read, weights)
        plain += _error(wanted, quantized.codes(read), weights, step)
        exact += _error(wanted, own.codes(_windows(own, shown)), pixel_weights(weights, preprocessing), UNIT)
    return exact < plain


def _windows(read: ConvInput, images: Iterable[Images]) -> Images:
    """What the Conv reads at WINDOWS positions of each image, (n, blocks, rows)."""
    return np.concatenate([read.windows(image[0], WINDOWS, 0.0) for image in images])


def _error(wanted: Floats, codes: npt.NDArray[np.int8], weights: Floats, step: float) -> float:
    """The squared error of the outputs with int8 weights, rounded with feedback; `step` is the value of a code."""
    blocks = codes.swapaxes(0, 1).astype(np.float32)
    moments = np.matmul(blocks.swapaxes(1, 2), blocks).astype(np.int64)
    scale = weight_scale(weights.astype(np.float32))
    (rounded,) = round_with_feedback([weights], [scale], moments)
    outputs = _outputs(codes * np.float64(step), rounded * scale.reshape(-1, 1, 1, 1))
    return float(np.square(outputs - wanted).sum())


def _outputs(windows: Floats, weights: Floats) -> Floats:
    """The Conv's outputs without bias, (n, O), for windows (n, blocks, rows)."""
    matrix = weights.reshape(len(weights), -1)
    products: Floats = windows.reshape(len(windows), -1)[:, : matrix.shape[1]] @ matrix.T
    return products
