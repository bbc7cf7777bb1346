"""Steps through a Q/DQ graph from one node or value to its Q/DQ, scales and Convs; knows nothing about whole graphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.lint.finding import Place
from wrn_deploy.graph import (
    PASSING,
    constant,
    dequantizer_of,
    input_of,
    is_fixed,
    name_of,
    producer,
    quantizer_of,
    shape_of,
    users,
)

__all__ = [
    "NO_AXIS", "at", "before_qdq", "between_dq_and", "brief", "is_affine", "is_dequantized", "is_int8", "made_by_conv",
    "quantized_data", "quantized_weights", "same_scale", "scale_axis", "scale_of", "typed_name", "zero_point_of",
]  # fmt: skip

NO_AXIS = -1


def at(node: ir.Node, detail: str) -> Place:
    """The place of a finding at `node`."""
    return Place(name_of(node), detail)


def typed_name(node: ir.Node) -> str:
    """The node's operator and name, as in "Conv block1.0.conv1"."""
    return f"{node.op_type} {name_of(node)}"


def is_dequantized(value: ir.Value | None) -> bool:
    """Whether a DQ outputs the value, and the value is not a constant."""
    return dequantizer_of(value) is not None and not is_fixed(value)


def before_qdq(value: ir.Value | None) -> ir.Value | None:
    """The value before its Q and DQ; the value itself if it has none."""
    quantizer = quantizer_of(dequantizer_of(value))
    return input_of(quantizer, 0) if quantizer is not None else value


def quantized_data(node: ir.Node) -> bool:
    """Whether a DQ outputs the data of a Conv or Gemm."""
    return is_dequantized(input_of(node, 0))


def quantized_weights(node: ir.Node) -> bool:
    """Whether the weights of a Conv or Gemm are a constant behind a DQ."""
    return dequantizer_of(input_of(node, 1)) is not None and is_fixed(input_of(node, 1))


def is_int8(conv: ir.Node) -> bool:
    """Whether a Conv can run in integers: DQ output both its data and its weights."""
    return quantized_data(conv) and quantized_weights(conv)


def is_affine(node: ir.Node) -> bool:
    """Whether it is BN, or a Mul or Add of a constant, which BN is lowered to."""
    lowered = node.op_type in ("Mul", "Add") and len(node.inputs) == 2 and any(map(is_fixed, node.inputs))
    return lowered or node.op_type == "BatchNormalization"


def made_by_conv(value: ir.Value | None) -> ir.Node | None:
    """The Conv that computes the value, directly or with BN behind it that can be folded into it."""
    node = producer(value)
    while node is not None and node.op_type != "Conv":
        data = next((before for before in node.inputs if not is_fixed(before)), None) if is_affine(node) else None
        node = producer(data) if data is not None and len(users(data)) == 1 else None
    return node


def scale_of(node: ir.Node | None) -> npt.NDArray[Any] | None:
    """The scale of a Q or DQ; None if it is computed at run time, or without a node."""
    return constant(input_of(node, 1))


def zero_point_of(node: ir.Node) -> npt.NDArray[Any] | None:
    """The zero point of a Q or DQ: zero if it is left out, None if it is computed at run time."""
    value = input_of(node, 2)
    return constant(value) if value is not None else np.zeros((), dtype=np.uint8)


def same_scale(first: ir.Node, second: ir.Node) -> bool:
    """Whether two Q or DQ have the same scale and zero point; those computed at run time must be the same tensor."""
    if [*first.inputs[1:]] == [*second.inputs[1:]]:
        return True
    for index, read in ((1, scale_of), (2, zero_point_of)):
        here, there = read(first), read(second)
        if here is None or there is None:
            if not all(is_fixed(input_of(node, index)) for node in (first, second)):
                return False
        elif not np.array_equal(here, there):
            return False
    return True


def brief(values: npt.ArrayLike | None) -> str:
    """A scale or zero point as text: one number, or the count, minimum and maximum."""
    if values is None:
        return "a computed value"
    array = np.asarray(values).astype(np.float64)
    if array.size == 1:
        return f"{array.item():.6g}"
    return f"{array.size} values from {array.min():.6g} to {array.max():.6g}"


def between_dq_and(value: ir.Value | None) -> list[ir.Node]:
    """The nodes from the DQ to the value that it outputs, in graph order."""
    dequantizer, found = dequantizer_of(value), list[ir.Node]()
    while (node := producer(value)) is not dequantizer and node is not None:
        found.insert(0, node)
        value = input_of(node, 0)
    return found


def scale_axis(value: ir.Value | None) -> int | None:
    """The axis of a dequantized value along which the scales of its DQ lie, counted from 0.

    The nodes between the DQ and the value move it, as Transpose and Reshape do. NO_AXIS: they do not lie along one axis
    of the value; None: the graph does not give the shapes.
    """
    dequantizer = dequantizer_of(value)
    if dequantizer is None:
        return None
    shape, axis = shape_of(input_of(dequantizer, 0)), dequantizer.attributes.get_int("axis", 1)
    moved: int | None = axis + len(shape) if axis < 0 and shape is not None else axis
    for node in between_dq_and(value):
        moved = _moved(node, moved) if moved not in (None, NO_AXIS) else moved
    return moved


def _moved(node: ir.Node, axis: int | None) -> int | None:
    """Where a node that keeps all elements puts an axis of its input."""
    if node.op_type in ("Cast", "Slice", *PASSING):
        return axis
    before, after = shape_of(input_of(node, 0)), shape_of(node.outputs[0])
    if node.op_type == "Transpose":
        order = list(node.attributes.get_ints("perm", [*reversed(range(len(before or ())))]))
        return order.index(axis) if axis in order else None
    if before is None or after is None or None in before or None in after or axis is None or axis >= len(before):
        return None
    sizes, found = [size or 0 for size in before], [size or 0 for size in after]
    ahead = math.prod(sizes[:axis])  # Reshape and its kind keep the order of the elements
    same = (at for at, size in enumerate(found) if size == sizes[axis] and math.prod(found[:at]) == ahead)
    return next(same, NO_AXIS)
