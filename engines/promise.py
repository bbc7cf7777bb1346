"""The precision that an ONNX graph asks for: the multiply-accumulates of each layer, and their arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from wrn_deploy.engines.layers import Arithmetic

__all__ = ["ExpectedPrecision", "expected_precisions", "shares_of"]

MULTIPLYING = ("Conv", "Gemm", "MatMul")
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
TYPES = {
    ir.DataType.FLOAT: Arithmetic.FP32,
    ir.DataType.FLOAT16: Arithmetic.FP16,
    ir.DataType.BFLOAT16: Arithmetic.BF16,
    ir.DataType.INT8: Arithmetic.INT8,
    ir.DataType.UINT8: Arithmetic.INT8,
    ir.DataType.FLOAT8E4M3FN: Arithmetic.FP8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPrecision:
    """One Conv, Gemm or MatMul of a graph, and the arithmetic that the graph asks for.

    `macs` are multiply-accumulates for one image, 0 if the graph lacks the shapes; `weights` is the number of weights,
    0 if they are computed; `around` has the names of the Q and DQ that feed it.
    """

    name: str
    macs: int
    weights: int
    arithmetic: Arithmetic
    around: tuple[str, ...] = ()


def expected_precisions(model: ir.Model) -> list[ExpectedPrecision]:
    """The layers of a graph that multiply, in its order.

    A layer is in int8 or fp8 if a DQ of such codes makes both its data and its weights; any other layer has the type of
    its weights, or of the scale of their DQ.
    """
    return [_expected(node) for node in model.graph if node.op_type in MULTIPLYING and len(node.inputs) > 1]


def shares_of(macs: Iterable[tuple[Arithmetic, int]]) -> Mapping[str, float]:
    """The share of all multiply-accumulates in each arithmetic that occurs; empty if one is unknown."""
    pairs = list(macs)
    total = sum(count for _, count in pairs)
    if not all(count for _, count in pairs):
        return {}
    sums = {kind: sum(count for found, count in pairs if found is kind) for kind in Arithmetic}
    return {kind.value: count / total for kind, count in sums.items() if count}


def _expected(node: ir.Node) -> ExpectedPrecision:
    data, weights = node.inputs[0], node.inputs[1]
    from_data, from_weights = _dequantizer(data), _dequantizer(weights)
    around = [found for found in (from_data, from_weights) if found is not None]
    before = [_producer(found.inputs[0], QUANTIZE) for found in around]
    codes = {_codes(found) for found in around} if from_data is not None and from_weights is not None else set()
    arithmetic = codes.pop() if len(codes) == 1 else Arithmetic.UNKNOWN
    if arithmetic not in (Arithmetic.INT8, Arithmetic.FP8):
        arithmetic = _float_type(weights)
    names = tuple(_name(found) for found in (*around, *before) if found is not None)
    return ExpectedPrecision(
        name=_name(node), macs=_macs(node), weights=_size(weights), arithmetic=arithmetic, around=names
    )


def _name(node: ir.Node) -> str:
    return node.name or (node.outputs[0].name if node.outputs else "") or ""


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and node.inputs else None


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DQ that the value comes out of; Casts and Transposes behind it change nothing."""
    for kind in ("Cast", "Transpose", "Cast"):
        node = _producer(value, kind)
        value = node.inputs[0] if node is not None else value
    return _producer(value, DEQUANTIZE)


def _codes(dequantizer: ir.Node) -> Arithmetic:
    """The type of the codes: that of the zero point, of the codes, or of the Q that makes them."""
    zero_points = dequantizer.inputs[2:3]
    quantizer = _producer(dequantizer.inputs[0], QUANTIZE)
    values = [*zero_points, dequantizer.inputs[0], *(quantizer.inputs[2:3] if quantizer is not None else ())]
    known = [value.dtype for value in values if value is not None and value.dtype is not None]
    if not known and quantizer is not None:
        return Arithmetic.INT8  # ONNX: a Q without a zero point makes uint8
    return TYPES.get(known[0], Arithmetic.UNKNOWN) if known else Arithmetic.UNKNOWN


def _float_type(weights: ir.Value | None) -> Arithmetic:
    dequantizer = _dequantizer(weights)
    scale = dequantizer.inputs[1] if dequantizer is not None and len(dequantizer.inputs) > 1 else None
    for value in (weights, scale):
        if value is not None and value.dtype in TYPES:
            return TYPES[value.dtype]
    return Arithmetic.UNKNOWN


def _shape(value: ir.Value | None) -> list[int | None]:
    """The shape; a Q, DQ or Cast has that of its input."""
    for _ in range(4):
        node = value.producer() if value is not None and value.shape is None else None
        if node is not None and node.op_type in (QUANTIZE, DEQUANTIZE, "Cast") and node.inputs:
            value = node.inputs[0]
    if value is None or value.shape is None:
        return []
    return [size if isinstance(size, int) else None for size in value.shape]


def _known(sizes: list[int | None]) -> int:
    """The product, 0 where a size is not known."""
    known = [size for size in sizes if size is not None]
    return math.prod(known) if known and len(known) == len(sizes) else 0


def _size(weights: ir.Value | None) -> int:
    return _known(_shape(weights))


def _macs(node: ir.Node) -> int:
    """Each weight is multiplied once for each position of the output, on the axes between or behind the channels."""
    weights, output = _size(node.inputs[1]), _shape(node.outputs[0]) if node.outputs else []
    if not weights or len(output) < 2:
        return 0
    positions = output[2:] if node.op_type == "Conv" else output[1:-1]
    return weights * (_known(positions) if positions else 1)
