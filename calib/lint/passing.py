"""Takes nodes out of a graph that hand tensors on as they are, so that rules see what stands on both sides."""

from __future__ import annotations

import onnx_ir as ir

from wrn_deploy.graph import PASSING, input_of, is_fixed, is_random

__all__ = ["without_passing"]


def without_passing(model: ir.Model) -> ir.Model:
    """Removes Identity, and Dropout in inference, from the path of the images, in place; returns the model.

    TensorRT-RTX 1.7 builds the same plan without them, and ONNX Runtime removes them first. Those of constants stay:
    TensorRT refuses some. So do those that make an output of the graph.
    """
    for node in list(model.graph):
        source, made = input_of(node, 0), node.outputs[0]
        if node.op_type not in PASSING or is_random(node) or source is None or is_fixed(source):
            continue
        if made.is_graph_output() or any(output.uses() for output in node.outputs[1:]):
            continue
        source.shape, source.type = source.shape or made.shape, source.type or made.type
        ir.convenience.replace_all_uses_with(made, source)
        model.graph.remove(node, safe=True)
    return model
