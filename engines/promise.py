"""What an ONNX graph promises: the multiply-accumulates of each of its layers, and what they are to be computed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from wrn_deploy.engines.layers import Arithmetic
from wrn_deploy.graph import (
    DEQUANTIZE,
    MULTIPLYING,
    QUANTIZE,
    codes_type,
    input_of,
    macs_of,
    name_of,
    origin,
    producer,
    size_of,
)

__all__ = ["Promise", "promises_of", "shares_of"]

TYPES = {
    ir.DataType.FLOAT: Arithmetic.FP32,
    ir.DataType.FLOAT16: Arithmetic.FP16,
    ir.DataType.BFLOAT16: Arithmetic.BF16,
    ir.DataType.INT8: Arithmetic.INT8,
    ir.DataType.UINT8: Arithmetic.INT8,
    ir.DataType.FLOAT8E4M3FN: Arithmetic.FP8,
}


@dataclass(frozen=True, slots=True)
class Promise:
    """One Conv, Gemm or MatMul of a graph.

    `macs` are its multiply-accumulates for one image, None if the graph does not give the shapes; `weights` is the
    number of its weights, 0 if they are computed; `around` are the names of the Q and DQ that feed it.
    """

    name: str
    macs: int | None
    weights: int
    arithmetic: Arithmetic
    around: tuple[str, ...] = ()


def promises_of(model: ir.Model) -> list[Promise]:
    """The layers of a graph that multiply, in its order.

    In int8 or fp8 is a layer whose data and weights both come out of a DQ of such codes; any other one has the type of
    its weights, or of the scale of their DQ.
    """
    return [_promise(node) for node in model.graph if node.op_type in MULTIPLYING and len(node.inputs) > 1]


def shares_of(macs: Iterable[tuple[Arithmetic, int | None]]) -> Mapping[str, float]:
    """The share of all multiply-accumulates in each arithmetic that occurs; empty if one count is unknown."""
    pairs = list(macs)
    known = [(kind, count) for kind, count in pairs if count]
    if len(known) < len(pairs):
        return {}
    total = sum(count for _, count in known)
    sums = {kind: sum(count for found, count in known if found is kind) for kind in Arithmetic}
    return {kind.value: count / total for kind, count in sums.items() if count}


def _promise(node: ir.Node) -> Promise:
    data, weights = node.inputs[0], node.inputs[1]
    from_data, from_weights = _dequantizer(data), _dequantizer(weights)
    around = [found for found in (from_data, from_weights) if found is not None]
    before = [producer(input_of(found, 0), QUANTIZE) for found in around]
    codes = {_arithmetic(codes_type(found)) for found in around} if len(around) == 2 else set()
    arithmetic = codes.pop() if len(codes) == 1 else Arithmetic.UNKNOWN
    if arithmetic not in (Arithmetic.INT8, Arithmetic.FP8):
        arithmetic = _float_type(weights)
    names = tuple(name_of(found) for found in (*around, *before) if found is not None)
    return Promise(name_of(node), macs_of(node), size_of(weights) or 0, arithmetic, names)


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DQ that the value comes out of; Casts and Transposes behind it change nothing."""
    return producer(origin(value, "Cast", "Transpose"), DEQUANTIZE)


def _float_type(weights: ir.Value | None) -> Arithmetic:
    """The type of the weights, or of the scale of their DQ."""
    dequantizer = _dequantizer(weights)
    scale = input_of(dequantizer, 1) if dequantizer is not None else None
    known = [_arithmetic(value.dtype) for value in (weights, scale) if value is not None and value.dtype in TYPES]
    return known[0] if known else Arithmetic.UNKNOWN


def _arithmetic(type_: ir.DataType | None) -> Arithmetic:
    return TYPES.get(type_, Arithmetic.UNKNOWN) if type_ is not None else Arithmetic.UNKNOWN
