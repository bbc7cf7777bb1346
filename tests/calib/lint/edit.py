"""Edits that break a Q/DQ graph, and the linter's findings for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.lint.facts import lint_graph
from wrn_deploy.calib.lint.finding import Severity, Target
from wrn_deploy.calib.lint.walk import before_qdq
from wrn_deploy.graph import constant


def found(model: ir.Model, target: Target) -> dict[str, list[str]]:
    """The nodes that each broken rule names."""
    nodes: dict[str, list[str]] = {}
    for finding in lint_graph(model, target):
        nodes.setdefault(finding.rule.id, []).append(finding.place.node)
    return nodes


def severities(model: ir.Model, target: Target) -> dict[str, Severity]:
    return {finding.rule.id: finding.rule.severity for finding in lint_graph(model, target)}


def node_of(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def value_of(model: ir.Model, name: str) -> ir.Value:
    return next(value for node in model.graph for value in node.outputs if value.name == name)


def store(model: ir.Model, name: str, array: npt.ArrayLike) -> ir.Value:
    """A new initializer."""
    value = ir.val(name, const_value=ir.Tensor(np.asarray(array), name=name))
    model.graph.initializers.add(value)
    return value


def change(model: ir.Model, name: str, array: npt.NDArray[Any]) -> None:
    """Another array, type and shape for an initializer."""
    value = model.graph.initializers[name]
    value.const_value = ir.Tensor(np.asarray(array), name=name)
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)


def array_of(model: ir.Model, name: str) -> npt.NDArray[Any]:
    found = constant(model.graph.initializers[name])
    assert found is not None
    return found


def add_node(model: ir.Model, before: str, node: ir.Node, like: ir.Value, dtype: ir.DataType) -> ir.Value:
    """Puts `node` in front of the node `before`; its output is named as itself."""
    output = node.outputs[0]
    output.name, output.shape, output.type = node.name, like.shape, ir.TensorType(dtype)
    model.graph.insert_before(node_of(model, before), node)
    return output


def quantize(model: ir.Model, tensor: str, user: str, scale: float = 0.03, index: int = 0) -> None:
    """Lets an input of `user` be `tensor`, quantized by new nodes `extra.q` and `extra.dq`."""
    source = value_of(model, tensor)
    dtype = source.dtype or ir.DataType.FLOAT
    step = store(model, "extra.scale", np.asarray(scale, dtype=dtype.numpy()))
    zero = store(model, "extra.zero_point", np.int8(0))
    quantizer = ir.node("QuantizeLinear", [source, step, zero], name="extra.q")
    codes = add_node(model, user, quantizer, source, ir.DataType.INT8)
    dequantizer = ir.node("DequantizeLinear", [codes, step, zero], name="extra.dq")
    node_of(model, user).replace_input_with(index, add_node(model, user, dequantizer, source, dtype))


def unquantize(model: ir.Model, user: str, index: int = 0) -> None:
    """Lets an input of `user` be the tensor before its Q/DQ."""
    node = node_of(model, user)
    node.replace_input_with(index, before_qdq(node.inputs[index]))


def float_weights(model: ir.Model, conv: str) -> ir.Value:
    """Gives a Conv its weights in float."""
    codes, scale = (array_of(model, f"{conv}.weight.{part}") for part in ("q", "scale"))
    weights = codes.astype(scale.dtype) * scale[:, None, None, None]
    value = store(model, f"{conv}.weight.float", weights)
    node_of(model, conv).replace_input_with(1, value)
    return value


def remove_unused(model: ir.Model) -> None:
    for node in reversed(list(model.graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            model.graph.remove(node, safe=True)
