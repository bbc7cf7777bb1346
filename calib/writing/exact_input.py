"""Gives the first Conv the pixels' own codes, so that int8 represents every image exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import TensorRange
from wrn_deploy.calib.equalization.channels import own_parameter
from wrn_deploy.graph import parameter, users
from wrn_deploy.spec import Preprocessing

__all__ = ["PIXELS", "RANGE", "read_pixels"]

PIXELS = "pixels"  # the tensor of codes
UNIT = 1.0 / 64.0  # the value of a code: a power of two is exact, and leaves the weights' scales normal fp16 numbers
ONE = 127.0 * UNIT  # the value of the fourth channel
RANGE = TensorRange(low=-128.0 * UNIT, high=127.0 * UNIT, amax=127.0 * UNIT, clipped=0.0)


def read_pixels(model: ir.Model, how: Preprocessing) -> ir.Model:
    """A copy of the graph, with the same input and logits, whose first Convs read `value - 128` of each pixel.

    A normalised image has 256 levels a channel, but with one scale for three channels of different means and deviations
    hardly a level falls on a code of int8. `255 std x + (255 mean - 128)` does, for every pixel; it is given in units
    of UNIT. The Conv's weights take up the factor. The offset would be wrong in the padding, which stands for the mean:
    so it is undone by the weights of a fourth channel, which is constant inside the image and 0 in the padding. The
    kernels of GPUs pad three channels to four anyway.

    Where the input is not read by Convs alone, the copy is left as it is.
    """
    changed = model.clone()
    graph = changed.graph
    image = graph.inputs[0]
    convs = users(image)
    if not convs or any(conv.op_type != "Conv" or conv.attributes.get_int("group", 1) != 1 for conv in convs):
        return changed
    factor = 255.0 * UNIT * np.asarray(how.std, dtype=np.float64)
    offset = UNIT * (255.0 * np.asarray(how.mean, dtype=np.float64) - 128.0)
    pixels = _add_codes(graph, image, factor, offset)
    for conv in convs:
        weights = parameter(conv, 1) / factor.reshape(1, -1, 1, 1)
        undone = -(weights * offset.reshape(1, -1, 1, 1)).sum(axis=1, keepdims=True) / ONE
        own_parameter(graph, conv, 1, np.concatenate([weights, undone], axis=1))
        conv.replace_input_with(0, pixels)
    return changed


def _add_codes(
    graph: ir.Graph, image: ir.Value, factor: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]
) -> ir.Value:
    """Input * factor + offset, and a fourth channel of ONE; (N, 3, H, W) -> (N, 4, H, W)."""
    constants: dict[str, npt.NDArray[np.generic]] = {
        f"{PIXELS}.factor": factor.astype(np.float32).reshape(1, -1, 1, 1),
        f"{PIXELS}.offset": offset.astype(np.float32).reshape(1, -1, 1, 1),
        f"{PIXELS}.one": np.asarray(ONE, dtype=np.float32),
        f"{PIXELS}.pads": np.array([0, 0, 0, 0, 0, 1, 0, 0], dtype=np.int64),
    }
    made = [ir.val(name, const_value=ir.Tensor(values, name=name)) for name, values in constants.items()]
    for value in made:
        graph.initializers.add(value)
    multiply = ir.node("Mul", [image, made[0]], name=f"{PIXELS}.mul")
    add = ir.node("Add", [multiply.outputs[0], made[1]], name=f"{PIXELS}.add")
    pad = ir.node("Pad", [add.outputs[0], made[3], made[2]], {"mode": "constant"}, name=PIXELS)
    assert image.shape is not None
    wide = ir.Shape([image.shape[0], 4, *list(image.shape)[2:]])
    for node, shape in ((multiply, image.shape), (add, image.shape), (pad, wide)):
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = node.name, image.type, shape
    graph.insert_before(graph[0], [multiply, add, pad])
    return pad.outputs[0]
