"""The precision that an ONNX graph asks for: the multiply-accumulates of each layer, and their arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from wrn_deploy.engines.layers import Arithmetic
from wrn_deploy.graph import (
    MULTIPLYING,
    codes_type,
    dequantizer_of,
    input_of,
    macs_of,
    name_of,
    quantizer_of,
    size_of,
    type_of,
)

__all__ = ["ExpectedPrecision", "expected_precisions", "shares_of"]

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

    `macs` are multiply-accumulates for one image, None if the graph lacks the shapes; `weights` is the number of
    weights, 0 if they are computed; `around` has the names of the Q and DQ that feed it.
    """

    name: str
    macs: int | None
    weights: int
    arithmetic: Arithmetic
    around: tuple[str, ...] = ()


def expected_precisions(model: ir.Model) -> list[ExpectedPrecision]:
    """The layers of a graph that multiply, in its order.

    A layer is in int8 or fp8 if a DQ of such codes makes both its data and its weights; any other layer has the type of
    its weights, or of the scale of their DQ.
    """
    return [_expected(node) for node in model.graph if node.op_type in MULTIPLYING and len(node.inputs) > 1]


def shares_of(macs: Iterable[tuple[Arithmetic, int | None]]) -> Mapping[str, float]:
    """The fraction of all multiply-accumulates in each arithmetic that occurs; empty if one count is unknown."""
    sums = Counter[Arithmetic]()
    for kind, count in macs:
        if not count:
            return {}
        sums[kind] += count
    return {kind.value: sums[kind] / sums.total() for kind in Arithmetic if kind in sums}


def _expected(node: ir.Node) -> ExpectedPrecision:
    weights = node.inputs[1]
    around = [found for found in map(dequantizer_of, node.inputs[:2]) if found is not None]
    before = [quantizer_of(found) for found in around]
    codes = {_arithmetic(codes_type(found)) for found in around}
    arithmetic = codes.pop() if len(around) == 2 and len(codes) == 1 else Arithmetic.UNKNOWN
    if arithmetic not in (Arithmetic.INT8, Arithmetic.FP8):
        arithmetic = _float_type(weights)
    return ExpectedPrecision(
        name=name_of(node),
        macs=macs_of(node),
        weights=size_of(weights) or 0,
        arithmetic=arithmetic,
        around=tuple(name_of(found) for found in (*around, *before) if found is not None),
    )


def _float_type(weights: ir.Value | None) -> Arithmetic:
    """The type of the weights, or of the scale of their DQ."""
    known = [type_of(value) for value in (weights, input_of(dequantizer_of(weights), 1))]
    return next((_arithmetic(found) for found in known if found in TYPES), Arithmetic.UNKNOWN)


def _arithmetic(type_: ir.DataType | None) -> Arithmetic:
    return TYPES.get(type_, Arithmetic.UNKNOWN) if type_ is not None else Arithmetic.UNKNOWN
