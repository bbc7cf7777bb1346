"""Reads ONNX graphs in memory: producers, users, constants, shapes, names and costs; never changes one.

A constant is what does not depend on the graph's inputs, whichever nodes hand it on: exporters leave Identity, Reshape
or Transpose between an initializer and its reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx_ir as ir

__all__ = [
    "DEQUANTIZE", "MULTIPLYING", "PASSING", "QUANTIZE", "REARRANGING", "activated", "array_of", "codes_type",
    "constant", "dequantizer_of", "input_of", "is_fixed", "is_random", "is_stored", "is_sum", "macs_of", "name_of",
    "origin", "parameter", "producer", "quantizer_of", "shape_of", "size_of", "type_of", "users", "value_name",
    "values_of",
]  # fmt: skip

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MULTIPLYING = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Relu", "Clip")  # TensorRT and ONNX Runtime compute these within the Conv before them
CONVERTING = (QUANTIZE, DEQUANTIZE, "Cast")  # these change the type of a tensor, but neither its shape nor its meaning
PASSING = ("Identity", "Dropout")  # these hand on their first input as it is, unless a Dropout is in training mode
REARRANGING = (*PASSING, "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  # these keep all elements
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
LOOKED_AT = 64  # nodes before a value that is taken for computed without looking further


def name_of(node: ir.Node) -> str:
    """The node's name, or its first output's: exporters may leave nodes unnamed."""
    return node.name or (value_name(node.outputs[0]) if node.outputs else "")


def value_name(value: ir.Value | None) -> str:
    """The tensor's name; "" for an input that is left out."""
    return (value.name or "") if value is not None else ""


def input_of(node: ir.Node | None, index: int) -> ir.Value | None:
    """An input; None if the node leaves it out, or without a node."""
    return node.inputs[index] if node is not None and index < len(node.inputs) else None


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes the value, if it is one of `op_types` (any, if none are given)."""
    node = value.producer() if value is not None else None
    return node if node is not None and (not op_types or node.op_type in op_types) else None


def users(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the value, one for each use."""
    return [use.node for use in value.uses()]


def values_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """The graph's inputs and the outputs of its nodes, by name."""
    return {value_name(value): value for value in (*graph.inputs, *(made for node in graph for made in node.outputs))}


def origin(value: ir.Value | None, *passed: str) -> ir.Value | None:
    """Goes back through nodes of the types `passed`, each by its first input; returns the value before them."""
    while (node := producer(value, *passed)) is not None and value is node.outputs[0] and not is_random(node):
        value = input_of(node, 0)
    return value


def dequantizer_of(value: ir.Value | None) -> ir.Node | None:
    """The DQ that outputs the value, directly or through nodes that only convert, rearrange or cut out floats.

    TensorRT takes such nodes into the Conv, or moves them to the other side of the DQ.
    """
    return producer(origin(value, "Cast", "Slice", *REARRANGING), DEQUANTIZE)


def quantizer_of(dequantizer: ir.Node | None) -> ir.Node | None:
    """The Q whose codes a DQ reads, directly or through nodes that keep all elements."""
    return producer(origin(input_of(dequantizer, 0), *REARRANGING), QUANTIZE)


def activated(value: ir.Value) -> ir.Value:
    """The output of the ReLU or Clip that is the value's only user; else the value itself."""
    readers = users(value)
    return readers[0].outputs[0] if len(readers) == 1 and readers[0].op_type in ACTIVATIONS else value


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array of a constant, read from its file or computed when asked for.

    None for a value that is not constant, for one behind Q or DQ, and for one that takes other than a few operators.
    """
    if (tensor := _tensor(value)) is not None:
        return tensor.numpy()
    if value is None or value.producer() is None or not is_fixed(value):
        return None
    from wrn_deploy.constants import evaluate

    return evaluate(value)


def array_of(value: ir.Value | None) -> npt.NDArray[Any]:
    """The array of a value that must be a constant: callers know their graphs."""
    array = constant(value)
    assert array is not None, f"{value_name(value)!r} is not a constant"
    return array


def parameter(node: ir.Node, index: int) -> npt.NDArray[np.float64]:
    """An input of a node that must be a constant, in double."""
    import numpy as np

    value = input_of(node, index)
    array = constant(value)
    assert array is not None, f"input {index} of {name_of(node)}, {value_name(value)!r}, is not a constant"
    return array.astype(np.float64)


def is_fixed(value: ir.Value | None) -> bool:
    """Whether the value is the same for all images: left out, a constant, or computed from constants alone."""
    waiting = [value]
    seen: set[ir.Node] = set()
    while waiting:
        before = waiting.pop()
        if before is None or _tensor(before) is not None:
            continue
        node = before.producer()
        if node is None or len(seen) == LOOKED_AT or is_random(node):
            return False
        if node not in seen:
            seen.add(node)
            waiting.extend(node.inputs)
    return True


def is_stored(value: ir.Value | None) -> bool:
    """Whether it is an initializer or the output of a Constant node."""
    return _tensor(value) is not None


def is_random(node: ir.Node) -> bool:
    """Whether the node's output differs from run to run: Dropout, in training mode alone."""
    training = input_of(node, 2) if node.op_type == "Dropout" else None
    if training is not None:
        mode = _tensor(training)
        return mode is None or bool(mode.numpy().any())
    return node.op_type in RANDOM


def is_sum(node: ir.Node) -> bool:
    """Whether it is a residual sum: an Add of two tensors. An Add of a constant is a bias or a part of BN."""
    return node.op_type == "Add" and not any(map(is_fixed, node.inputs))


def type_of(value: ir.Value | None) -> ir.DataType | None:
    """The type of the elements, also if only a constant, or a node that hands it on, shows it; None if nothing does."""
    import onnx_ir as ir

    known = [found.dtype for found in (value, origin(value, *REARRANGING)) if found is not None]
    array = constant(value) if not any(known) else None
    return ir.DataType.from_numpy(array.dtype) if array is not None else next(filter(None, known), None)


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """The shape, with None for each unknown size; None if the rank is unknown. Q, DQ and Cast keep their input's."""
    return _shape(_with_shape(value, *CONVERTING, *PASSING))


def size_of(value: ir.Value | None) -> int | None:
    """The number of elements; None if a size is unknown."""
    shape = _shape(_with_shape(value, *CONVERTING, *REARRANGING))
    return _product(shape) if shape is not None else None


def macs_of(node: ir.Node) -> int | None:
    """The multiply-accumulates of a Conv, Gemm or MatMul for one image; None if a shape is unknown.

    Each weight is multiplied once per position of the output: the axes behind a Conv's channels, or those between the
    batch and the features of a Gemm or MatMul.
    """
    weights, output = size_of(input_of(node, 1)), shape_of(node.outputs[0]) if node.outputs else None
    if weights is None or output is None or len(output) < 2:
        return None
    positions = _product(output[2:] if node.op_type == "Conv" else output[1:-1])
    return weights * positions if positions is not None else None


def codes_type(node: ir.Node) -> ir.DataType | None:
    """The type of the codes that a Q writes or a DQ reads; None if the graph does not give it.

    It is the zero point's. ONNX: a Q without a zero point writes `output_dtype`, or uint8.
    """
    import onnx_ir as ir

    zero_point, codes = input_of(node, 2), input_of(node, 0)
    if (stored := type_of(zero_point)) is not None:
        return stored
    if node.op_type == QUANTIZE:
        wanted = node.attributes.get_int("output_dtype", 0)
        return ir.DataType(wanted) if wanted else ir.DataType.UINT8
    before = quantizer_of(node)
    return codes_type(before) if before is not None else type_of(codes)


def _tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    import onnx_ir as ir

    return ir.convenience.get_const_tensor(value) if value is not None else None


def _with_shape(value: ir.Value | None, *passed: str) -> ir.Value | None:
    """The value, or the first one before it that has a shape, through nodes of the types `passed`."""
    while value is not None and _shape(value) is None and (node := producer(value, *passed)) is not None:
        value = input_of(node, 0)
    return value


def _shape(value: ir.Value | None) -> tuple[int | None, ...] | None:
    tensor = _tensor(value)
    shape = tensor.shape if tensor is not None else (value.shape if value is not None else None)
    return tuple(size if isinstance(size, int) else None for size in shape) if shape is not None else None


def _product(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else math.prod(size for size in known if size is not None)
