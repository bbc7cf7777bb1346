"""Converts a fp32 graph to bf16, and back to a fp32 graph that rounds as bf16 does, for where bf16 cannot run."""

from __future__ import annotations

import onnx_ir as ir

from wrn_deploy.export.half import Half, convert_half

__all__ = ["convert_bf16", "emulate_bf16"]

LARGEST = (2.0 - 2.0**-7) * 2.0**127  # 7 bits of mantissa, the exponents of fp32
BF16 = Half("bf16", ir.DataType.BFLOAT16, LARGEST)
OPSET = 22  # the first in which Conv and the poolings take bf16; nothing else changed in them


def convert_bf16(model: ir.Model) -> ir.Model:
    """A copy of `model` (fp32) in which every floating-point tensor but the graph's input and output is bf16.

    Raises:
        DeployError: a weight is too large for bf16.
    """
    converted = convert_half(model, BF16)
    converted.graph.opset_imports[""] = max(OPSET, converted.graph.opset_imports[""])
    return converted


def emulate_bf16(model: ir.Model) -> ir.Model:
    """A copy of the bf16 graph that computes in fp32 what it computes, and so runs where no kernel takes bf16.

    It has the same weights, as rounded; every result is rounded to bf16 and back, once a node: GPUs too compute a
    node's sums in fp32 and round its result. Where they compute several nodes in one kernel they round less often.
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


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Behind the node: rounds the value to bf16, where it does not do that itself, and makes it float32 again."""
    users, last, casts = list(value.uses()), value, []
    wanted = [ir.DataType.FLOAT]
    if node.op_type != "Cast":
        value.type = ir.TensorType(ir.DataType.FLOAT)
        wanted.insert(0, ir.DataType.BFLOAT16)
    for type_ in wanted:
        name = f"{value.name}.{'rounded' if type_ is ir.DataType.BFLOAT16 else 'fp32'}"
        casts.append(ir.node("Cast", [last], {"to": type_}, name=name))
        last = casts[-1].outputs[0]
        last.name, last.type, last.shape = name, ir.TensorType(type_), value.shape
    for use in users:
        use.node.replace_input_with(use.idx, last)
    graph.insert_after(node, casts)
