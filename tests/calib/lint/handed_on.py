"""A small Q/DQ graph whose constants reach their readers through other nodes, as exporters leave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

C = 8  # channels
CODES = np.random.default_rng(0).integers(-127, 128, (C, C, 3, 3)).astype(np.int8)
SCALES = np.full(C, 0.01, np.float32)


class Maker:
    """Collects nodes and initializers; every method returns the name of the value that it makes."""

    def __init__(self, domain: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._domain = domain

    def store(self, array: npt.ArrayLike) -> str:
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def sizes(self, *sizes: int) -> str:
        return self.store(np.array(sizes, np.int64))

    def constant(self, array: npt.ArrayLike) -> str:
        return self.node("Constant", value=numpy_helper.from_array(np.asarray(array)))

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"v{len(self.nodes)}"
        domain = self._domain if kind in ("QuantizeLinear", "DequantizeLinear") else ""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output


Change = Callable[[Maker, str], str]  # puts nodes behind a value


def _keep(_make: Maker, value: str) -> str:
    return value


def identity(make: Maker, value: str) -> str:
    """Hands the value on."""
    return make.node("Identity", value)


def dropout(make: Maker, value: str) -> str:
    """Hands the value on, in inference."""
    return make.node("Dropout", value)


def qdq_conv(
    *,
    codes: Callable[[Maker], str] = lambda make: make.store(CODES),
    axis: int = 0,
    scales: Callable[[Maker], str] = lambda make: make.store(SCALES),
    zeros: int | None = C,
    scale: Callable[[Maker], str] = lambda make: make.store(np.float32(0.05)),
    zero: Change = _keep,
    weights: Change = _keep,
    data_codes: Change = _keep,
    data: Change = _keep,
    domain: str = "",
    unsigned: bool = False,
) -> onnx.ModelProto:
    """Q, DQ, Conv, ReLU, Q, DQ; each argument makes a constant, or puts nodes behind a value.

    Args:
        codes: the stored codes of the weights.
        axis: that of their DQ.
        scales: of the weights.
        zeros: how many zero points the weights have; None: their DQ leaves them out.
        scale: of the data.
        zero: behind the data's zero point.
        weights: behind the weights' DQ.
        data_codes: between the data's Q and DQ.
        data: behind the data's DQ.
        domain: of Q and DQ.
        unsigned: whether activations are uint8, as ONNX Runtime's kernels need.
    """
    make = Maker(domain)
    stored = make.store(np.uint8(128) if unsigned else np.int8(0))
    step, zero_point = scale(make), zero(make, stored)
    quantized = data_codes(make, make.node("QuantizeLinear", "x", step, zero_point, name="q"))
    given = data(make, make.node("DequantizeLinear", quantized, step, zero_point, name="dq"))
    read = [codes(make), scales(make), *([] if zeros is None else [make.store(np.zeros(zeros, np.int8))])]
    floats = weights(make, make.node("DequantizeLinear", *read, name="weights.dq", axis=axis))
    value = make.node("Conv", given, floats, name="conv", pads=[1] * 4, kernel_shape=[3, 3])
    value = make.node("Relu", value, name="relu")
    end = (make.store(np.float32(0.5)), make.store(np.uint8(0) if unsigned else np.int8(0)))
    value = make.node("QuantizeLinear", value, *end, name="y.q")
    make.node("DequantizeLinear", value, *end, name="y")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, C, 16, 16]) for name in "xy")
    opsets = [helper.make_opsetid("", 19), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(
        helper.make_graph(make.nodes, "g", [x], [y], make.stored), opset_imports=opsets, ir_version=9
    )
