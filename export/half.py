"""Converts a fp32 graph to fp16 or bf16, inputs and outputs still float32; and emulates bf16 in fp32."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from wrn_deploy.errors import DeployError
from wrn_deploy.export.whitening import contrast_nodes
from wrn_deploy.graph import parameter, producer, users, value_name

__all__ = ["LARGEST_BF16", "LARGEST_FP16", "convert_bf16", "convert_fp16", "emulate_bf16"]

LARGEST_FP16 = float(np.finfo(np.float16).max)  # 65504
LARGEST_BF16 = (2.0 - 2.0**-7) * 2.0**127  # 7 bits of mantissa, the exponents of fp32
BF16_OPSET = 22  # the first in which Conv and the poolings take bf16; nothing else changed in them


@dataclass(frozen=True, slots=True)
class _Half:
    """A 16-bit float type: its name here, ONNX's type, and its largest number."""

    name: str
    type: ir.DataType
    largest: float


def convert_fp16(model: ir.Model) -> ir.Model:
    """A copy of `model` (fp32) in which every floating-point tensor but the graph's input and output is fp16.

    Raises:
        DeployError: a weight is too large for fp16.
    """
    return _convert(model, _Half("fp16", ir.DataType.FLOAT16, LARGEST_FP16))


def convert_bf16(model: ir.Model) -> ir.Model:
    """A copy of `model` (fp32) in which every floating-point tensor but the graph's input and output is bf16.

    Raises:
        DeployError: a weight is too large for bf16.
    """
    converted = _convert(model, _Half("bf16", ir.DataType.BFLOAT16, LARGEST_BF16))
    converted.graph.opset_imports[""] = max(BF16_OPSET, converted.graph.opset_imports[""])
    return converted


def emulate_bf16(model: ir.Model) -> ir.Model:
    """A copy of the bf16 graph that computes the same in fp32, so it runs without bf16 kernels.

    It has the same rounded weights, and rounds each node's result to bf16 and back: GPUs too compute a node's sums in
    fp32 and round its result. If they compute several nodes in one kernel, they round less often.
    """
    emulated = model.clone()
    graph = emulated.graph
    for name, value in graph.initializers.items():
        if value.dtype == ir.DataType.BFLOAT16 and value.const_value is not None:
            value.const_value = ir.Tensor(value.const_value.numpy().astype("float32"), name=name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for node in list(graph):
        for value in node.outputs:
            if value.dtype == ir.DataType.BFLOAT16:
                _round(graph, node, value)
    return emulated


def _convert(model: ir.Model, half: _Half) -> ir.Model:
    """Converts a copy, with a Cast at each end, so that callers pass the same arrays to every precision.

    Whitening computes an image's contrast in fp32 in front of the first Cast: if there is little, pixels differ in bits
    that 16-bit floats do not have. A BN that could not be folded becomes a multiplication and an addition, computed in
    double: its variance and epsilon do not fit into fp16, and a BN in bf16 would be rounded before it is folded.
    """
    converted = model.clone()
    graph = converted.graph
    for node in [node for node in graph if node.op_type == "BatchNormalization"]:
        _lower_batch_norm(graph, node)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
    kept = contrast_nodes(graph)
    _convert_weights(graph, half, kept)
    for node in [node for node in graph if node not in kept]:
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                value.type = ir.TensorType(half.type)  # a new type: clones share the old one
    for value in [kept[-1].outputs[0]] if kept else list(graph.inputs):
        _cast_input(graph, value, half)
    _cast_output(graph, half)
    return converted


def _convert_weights(graph: ir.Graph, half: _Half, kept: Collection[ir.Node]) -> None:
    """All but those of the nodes that stay in fp32."""
    for name, value in list(graph.initializers.items()):
        kept_float = any(user in kept for user in users(value))
        if kept_float or value.dtype != ir.DataType.FLOAT or value.const_value is None:
            continue
        weights = value.const_value.numpy()
        largest = float(np.abs(weights).max(initial=0.0))
        if largest > half.largest:
            raise DeployError(
                f"{name} reaches {largest:.6g}: {half.name} ends at {half.largest:g}; this network cannot run in "
                f"{half.name}"
            )
        value.const_value = ir.Tensor(weights.astype(half.type.numpy()), name=name)
        value.type = ir.TensorType(half.type)


def _lower_batch_norm(graph: ir.Graph, node: ir.Node) -> None:
    """X -> x * scale + shift, with scale = gamma / sqrt(variance + epsilon) and shift = beta - mean * scale."""
    source, name = node.inputs[0], node.name or ""
    gamma, beta, mean, variance = (parameter(node, index) for index in range(1, 5))
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    shift = beta - mean * scale
    factors = [
        ir.val(f"{name}.{part}", const_value=ir.Tensor(values.astype(np.float32).reshape(1, -1, 1, 1)))
        for part, values in (("scale", scale), ("shift", shift))
    ]
    for factor in factors:
        graph.initializers.add(factor)
    multiply = ir.node("Mul", [source, factors[0]], name=f"{name}.mul")
    add = ir.node("Add", [multiply.outputs[0], factors[1]], name=name)
    multiply.outputs[0].name = f"{name}.mul"
    multiply.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    ir.convenience.replace_nodes_and_values(graph, node, [node], [multiply, add], node.outputs, add.outputs)


def _cast_input(graph: ir.Graph, value: ir.Value, half: _Half) -> None:
    """Casts a value for all its readers: the graph's input, or what the graph computes in fp32 first."""
    cast = _cast(value, half.type, f"{value.name}.{half.name}")
    for use in [use for use in value.uses() if use.node is not cast]:
        use.node.replace_input_with(use.idx, cast.outputs[0])
    made_by = producer(value)
    if made_by is None:
        graph.insert_before(graph[0], cast)
    else:
        graph.insert_after(made_by, cast)


def _cast(value: ir.Value, type_: ir.DataType, name: str) -> ir.Node:
    """A Cast of the value; the node and its output have that name."""
    node = ir.node("Cast", [value], {"to": type_}, name=name)
    result = node.outputs[0]
    result.name, result.type, result.shape = name, ir.TensorType(type_), value.shape
    return node


def _cast_output(graph: ir.Graph, half: _Half) -> None:
    for index, value in enumerate(list(graph.outputs)):
        name = value_name(value)
        value.name = f"{name}.{half.name}"
        cast = _cast(value, ir.DataType.FLOAT, name)
        graph.append(cast)
        graph.outputs[index] = cast.outputs[0]


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Behind the node: rounds the value to bf16, unless the node is a Cast that does, and makes it float32 again."""
    users, last, casts = list(value.uses()), value, []
    wanted = [ir.DataType.FLOAT]
    if node.op_type != "Cast":
        value.type = ir.TensorType(ir.DataType.FLOAT)
        wanted.insert(0, ir.DataType.BFLOAT16)
    for type_ in wanted:
        name = f"{value.name}.{'rounded' if type_ is ir.DataType.BFLOAT16 else 'fp32'}"
        casts.append(_cast(last, type_, name))
        last = casts[-1].outputs[0]
    for use in users:
        use.node.replace_input_with(use.idx, last)
    graph.insert_after(node, casts)
