"""Steps through a Q/DQ graph: from a value to its producer, users, constant and Q/DQ; nothing about a whole graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

__all__ = [
    "DEQUANTIZE", "INTEGER_OPERATORS", "QUANTIZE",
    "activated", "axis_of", "before_qdq", "brief", "codes_type", "constant", "dequantizer_of", "input_of",
    "is_affine", "is_dequantized", "is_fixed", "is_int8", "made_by_conv", "name_of", "producer", "quantized_data",
    "quantized_weights", "same_scale", "scale_of", "shape_of", "users", "value_name", "zero_point_of",
]  # fmt: skip

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
INTEGER_OPERATORS = (
    "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearAdd", "QLinearConv", "QLinearMatMul",
)  # fmt: skip
ACTIVATIONS = ("Relu", "Clip")  # those that both runtimes compute within the Conv before them


def name_of(node: ir.Node) -> str:
    """The node's name, or that of its output: exporters may leave nodes without a name."""
    return node.name or value_name(node.outputs[0])


def value_name(value: ir.Value | None) -> str:
    """The tensor's name."""
    return (value.name or "") if value is not None else ""


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes the value, if it is one of `op_types` (any, without them)."""
    node = value.producer() if value is not None else None
    return node if node is not None and (not op_types or node.op_type in op_types) else None


def users(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the value, one for each use."""
    return [use.node for use in value.uses()]


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array of an initializer or of a Constant node's output; read from the file when asked for."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return tensor.numpy() if tensor is not None else None


def is_fixed(value: ir.Value | None) -> bool:
    """Whether the value is the same for all inputs: a constant, or Q/DQ of one."""
    while (node := producer(value, QUANTIZE, DEQUANTIZE, "Cast")) is not None:
        value = input_of(node, 0)
    return value is None or ir.convenience.get_const_tensor(value) is not None


def dequantizer_of(value: ir.Value | None) -> ir.Node | None:
    """The DQ that the value comes out of; a Cast behind it changes nothing: TensorRT takes it in."""
    while (node := producer(value, "Cast")) is not None:
        value = input_of(node, 0)
    return producer(value, DEQUANTIZE)


def is_dequantized(value: ir.Value | None) -> bool:
    """Whether the value comes out of a DQ, and is no constant."""
    return dequantizer_of(value) is not None and not is_fixed(value)


def before_qdq(value: ir.Value | None) -> ir.Value | None:
    """The value that was quantized and dequantized; the value itself where it was not."""
    dequantizer = dequantizer_of(value)
    quantizer = producer(input_of(dequantizer, 0), QUANTIZE) if dequantizer is not None else None
    return input_of(quantizer, 0) if quantizer is not None else value


def quantized_data(node: ir.Node) -> bool:
    """Whether the first input of a Conv or Gemm comes out of a DQ."""
    return is_dequantized(input_of(node, 0))


def quantized_weights(node: ir.Node) -> bool:
    """Whether the second input of a Conv or Gemm is a constant behind a DQ."""
    return dequantizer_of(input_of(node, 1)) is not None and is_fixed(input_of(node, 1))


def is_int8(conv: ir.Node) -> bool:
    """Whether a Conv can be computed in integers: data and weights both come out of a DQ."""
    return quantized_data(conv) and quantized_weights(conv)


def is_affine(node: ir.Node) -> bool:
    """Whether it is batch normalisation, or a multiplication or addition of a constant, which it is lowered to."""
    if node.op_type == "BatchNormalization":
        return True
    return node.op_type in ("Mul", "Add") and len(node.inputs) == 2 and any(map(is_fixed, node.inputs))


def made_by_conv(value: ir.Value | None) -> ir.Node | None:
    """The Conv that makes the value, by itself or with BN behind it that can be folded into it."""
    node = producer(value)
    while node is not None and node.op_type != "Conv":
        data = next((before for before in node.inputs if not is_fixed(before)), None) if is_affine(node) else None
        node = producer(data) if data is not None and len(users(data)) == 1 else None
    return node


def activated(value: ir.Value) -> ir.Value:
    """The value behind the ReLU that is its only user, or the value itself."""
    readers = users(value)
    return readers[0].outputs[0] if len(readers) == 1 and readers[0].op_type in ACTIVATIONS else value


def scale_of(node: ir.Node) -> npt.NDArray[Any] | None:
    """The scale of a Q or DQ, None where it is computed at run time."""
    return constant(input_of(node, 1))


def zero_point_of(node: ir.Node) -> npt.NDArray[Any] | None:
    """The zero point of a Q or DQ, zero where it is left out, None where it is computed at run time."""
    value = input_of(node, 2)
    return constant(value) if value is not None else np.zeros((), dtype=np.uint8)


def same_scale(first: ir.Node, second: ir.Node) -> bool:
    """Whether two Q or DQ have the same scale and zero point; computed ones are the same if they are one tensor."""
    if [*first.inputs[1:]] == [*second.inputs[1:]]:
        return True
    for read in (scale_of, zero_point_of):
        here, there = read(first), read(second)
        if here is None or there is None or not np.array_equal(here, there):
            return False
    return True


def brief(values: npt.ArrayLike | None) -> str:
    """A scale or zero point as a text: one number, or how many and from where to where."""
    if values is None:
        return "a computed value"
    array = np.asarray(values).astype(np.float64)
    if array.size == 1:
        return f"{array.item():.6g}"
    return f"{array.size} values from {array.min():.6g} to {array.max():.6g}"


def codes_type(node: ir.Node) -> ir.DataType | None:
    """The type of the codes that a Q writes or a DQ reads: ONNX says uint8 for a Q without a zero point."""
    zero_point, codes = input_of(node, 2), input_of(node, 0)
    if zero_point is not None and zero_point.dtype is not None:
        return zero_point.dtype
    if node.op_type == QUANTIZE:
        wanted = node.attributes.get_int("output_dtype", 0)
        return ir.DataType(wanted) if wanted else ir.DataType.UINT8
    before = producer(codes, QUANTIZE)
    return codes_type(before) if before is not None else (codes.dtype if codes is not None else None)


def axis_of(node: ir.Node) -> int:
    """The axis that the scales of a Q or DQ belong to, from 0 on."""
    axis = node.attributes.get_int("axis", 1)
    shape = shape_of(input_of(node, 0))
    return axis + len(shape) if axis < 0 and shape is not None else axis


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """The shape, None for a dimension that is not known; a Q or DQ has the shape of its input."""
    while value is not None and value.shape is None and (node := producer(value, QUANTIZE, DEQUANTIZE)) is not None:
        value = input_of(node, 0)
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)
