"""The exact input is taken if the first Conv's outputs come nearer to fp32 with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from wrn_deploy.calib.rounding.first_conv import exact_input_pays
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.spec import Preprocessing

CIFAR = Preprocessing(height=32, width=32, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))


def first_conv(kernel: int = 3) -> ir.Graph:
    """A graph of one Conv with padding on three channels, whose weights have both signs."""
    weights = np.random.default_rng(0).standard_normal((8, 3, kernel, kernel)).astype(np.float32)
    image = ir.val("images", ir.DataType.FLOAT, ["N", 3, 32, 32])
    stored = ir.val("conv.weight", const_value=ir.Tensor(weights, name="conv.weight"))
    conv = ir.node("Conv", [image, stored], {"pads": [kernel // 2] * 4, "kernel_shape": [kernel] * 2}, name="conv")
    return ir.Graph([image], [conv.outputs[0]], nodes=[conv], initializers=[stored], opset_imports={"": 20})


def pays(brightness: float, graph: ir.Graph) -> bool:
    """For images around `brightness`, normalised by their own mean and deviation."""
    preprocessing = dataclasses.replace(
        CIFAR,
        mean=(brightness, brightness, brightness),
        std=(brightness / 2, brightness / 2, brightness / 2),
    )
    pixels = np.random.default_rng(1).normal(255 * brightness, 255 * brightness / 2, (4, 32, 32, 3)).clip(0, 255)
    images = normalize(pixels.astype(np.uint8), preprocessing)
    amax = float(np.abs(images).max())
    return exact_input_pays(graph, preprocessing, [images[i : i + 1] for i in range(len(images))], amax)


@pytest.mark.parametrize("kernel", [3, 7])
def test_it_pays_for_images_around_mid_grey_and_not_for_dark_ones(kernel: int) -> None:
    graph = first_conv(kernel)
    assert pays(0.5, graph)
    assert not pays(0.05, graph)


def test_it_is_left_out_if_other_nodes_read_the_images() -> None:
    graph = first_conv()
    graph.append(ir.node("Relu", [graph.inputs[0]], name="other"))
    assert not pays(0.5, graph)
