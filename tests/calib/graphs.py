"""Graphs for the tests of calibration: real structures, with tables of plausible ranges for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort

from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.placement import calibrated_tensors

Infer = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def plain_table(graph: ir.Graph) -> CalibrationTable:
    """Every tensor reaches 4; behind a ReLU none is negative."""
    positive = {"Relu", "MaxPool"}
    producers = {value.name: node.op_type for node in graph for value in node.outputs}
    ranges = {
        name: TensorRange(low=0.0 if producers.get(name) in positive else -4.0, high=4.0, amax=4.0, clipped=0.0)
        for name in calibrated_tensors(graph)
    }
    return CalibrationTable(
        method="max",
        percentile=None,
        data="made up",
        data_digest="0" * 64,
        images=1,
        graph_sha256="0" * 64,
        tensors=ranges,
    )


def producer(value: ir.Value | None) -> ir.Node:
    assert value is not None
    node = value.producer()
    assert node is not None, f"{value.name} has no producer"
    return node


def op_types(values: Any) -> list[str]:
    """The operators that make the values; "" for inputs and weights of the graph."""
    producers = [None if value is None else value.producer() for value in values]
    return ["" if node is None else node.op_type for node in producers]


def users(value: ir.Value) -> list[str]:
    return sorted(use.node.op_type for use in value.uses())


def constant(value: ir.Value | None) -> npt.NDArray[Any]:
    assert value is not None
    assert value.const_value is not None, f"{value.name} is not a constant"
    return value.const_value.numpy()


def session_of(model: ir.Model, optimized: Path | None = None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])


def optimized_ops(model: ir.Model, file: Path) -> list[str]:
    """The operators that ONNX Runtime really runs."""
    session_of(model, file)
    return [node.op_type for node in onnx.load(file, load_external_data=False).graph.node]


def check_is_valid(model: ir.Model) -> None:
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def check_activations(model: ir.Model, integer: type, scale: type) -> list[ir.Node]:
    """Every Q and its DQ share a scalar scale and zero point of the right types; returns the Q nodes."""
    quantizers = [node for node in model.graph if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        step, zero_point = constant(node.inputs[1]), constant(node.inputs[2])
        assert [step.dtype, zero_point.dtype] == [np.dtype(scale), np.dtype(integer)]
        assert step.shape == zero_point.shape == ()
        assert step > 0
        assert users(node.outputs[0]) == ["DequantizeLinear"]
        dequantizer = next(iter(node.outputs[0].uses())).node
        assert [*dequantizer.inputs[1:]] == [*node.inputs[1:]]
    return quantizers
