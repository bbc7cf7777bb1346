"""Feeds the pixels' own codes to the first Conv, so that int8 represents every image exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.moments import Prepare
from wrn_deploy.calib.collection.table import TensorRange
from wrn_deploy.calib.equalization.channels import own_parameter
from wrn_deploy.calib.writing.qdq import Floats, add_constant, output_of
from wrn_deploy.graph import parameter, users
from wrn_deploy.spec import Preprocessing

__all__ = ["PIXELS", "RANGE", "UNIT", "pixel_codes", "pixel_weights", "read_pixels", "reads_pixels"]

PIXELS = "pixels"  # the tensor of codes
UNIT = 1.0 / 64.0  # the value of a code: a power of two is exact, and leaves the weights' scales normal fp16 numbers
ONE = 127.0 * UNIT  # the value of the fourth channel
RANGE = TensorRange(low=-128.0 * UNIT, high=ONE, amax=ONE, clipped=0.0)


def read_pixels(model: ir.Model, preprocessing: Preprocessing) -> ir.Model:
    """Returns a copy of the graph, with the same input and logits, whose first Convs read `value - 128` of each pixel.

    A normalised image x has 256 levels per channel, but with one scale for three channels of different means and
    deviations few levels fall on a code of int8. The pixel's value - 128 = 255 std x + (255 mean - 128) always does;
    the graph has it in units of UNIT. The Conv's weights absorb the factor. The offset cannot go into the bias, since
    the padding, which stands for the mean, has none: a fourth channel, constant inside the image and 0 in the padding,
    subtracts it. GPU kernels pad three channels to four anyway.

    If other nodes than Convs read the input, the copy is unchanged.
    """
    changed = model.clone()
    graph = changed.graph
    convs = reads_pixels(graph)
    if not convs:
        return changed
    pixels = _add_codes(graph, graph.inputs[0], *_factor_and_offset(preprocessing))
    for conv in convs:
        own_parameter(graph, conv, 1, pixel_weights(parameter(conv, 1), preprocessing))
        conv.replace_input_with(0, pixels)
    return changed


def reads_pixels(graph: ir.Graph) -> list[ir.Node]:
    """The Convs that read the images; empty if other nodes do, too."""
    convs = users(graph.inputs[0])
    possible = all(conv.op_type == "Conv" and conv.attributes.get_int("group", 1) == 1 for conv in convs)
    return convs if possible else []


def pixel_weights(weights: Floats, preprocessing: Preprocessing) -> npt.NDArray[np.float64]:
    """The weights (O, 3, kh, kw) of a first Conv as they read the codes, (O, 4, kh, kw)."""
    factor, offset = (values.reshape(1, -1, 1, 1) for values in _factor_and_offset(preprocessing))
    own = weights / factor
    undone = -(own * offset).sum(axis=1, keepdims=True) / ONE
    return np.concatenate([own, undone], axis=1)


def pixel_codes(preprocessing: Preprocessing) -> Prepare:
    """The codes that the first Convs read then: one normalised image (3, H, W) -> (4, H, W), float32 both."""
    factor, offset = ((values / UNIT).astype(np.float32)[:, None, None] for values in _factor_and_offset(preprocessing))

    def prepare(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        codes = np.full((len(values) + 1, *values.shape[1:]), ONE / UNIT, dtype=np.float32)
        codes[:-1] = values * factor + offset
        return codes

    return prepare


def _factor_and_offset(preprocessing: Preprocessing) -> tuple[Floats, Floats]:
    """A normalised value times the factor, and the offset, is its pixel - 128, in units of UNIT; (3,) each."""
    factor = 255.0 * UNIT * np.asarray(preprocessing.std, dtype=np.float64)
    return factor, UNIT * (255.0 * np.asarray(preprocessing.mean, dtype=np.float64) - 128.0)


def _add_codes(graph: ir.Graph, image: ir.Value, factor: Floats, offset: Floats) -> ir.Value:
    """The value input * factor + offset, with a fourth channel of ONE; (N, 3, H, W) -> (N, 4, H, W)."""
    assert image.shape is not None
    scale = add_constant(graph, f"{PIXELS}.factor", factor.astype(np.float32).reshape(1, -1, 1, 1))
    moved = add_constant(graph, f"{PIXELS}.offset", offset.astype(np.float32).reshape(1, -1, 1, 1))
    one = add_constant(graph, f"{PIXELS}.one", np.asarray(ONE, dtype=np.float32))
    pads = add_constant(graph, f"{PIXELS}.pads", np.array([0, 0, 0, 0, 0, 1, 0, 0], dtype=np.int64))
    multiply = ir.node("Mul", [image, scale], name=f"{PIXELS}.mul")
    add = ir.node("Add", [output_of(multiply, image.type, image.shape), moved], name=f"{PIXELS}.add")
    summed = output_of(add, image.type, image.shape)
    pad = ir.node("Pad", [summed, pads, one], {"mode": "constant"}, name=PIXELS)
    graph.insert_before(graph[0], [multiply, add, pad])
    return output_of(pad, image.type, ir.Shape([image.shape[0], 4, *list(image.shape)[2:]]))
