"""Finds the feature maps of a core graph of any precision: the last tensor of each resolution; structure alone."""

from __future__ import annotations

import onnx_ir as ir

from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, activated, is_sum, users

__all__ = ["as_read", "find_feature_maps"]


def find_feature_maps(graph: ir.Graph) -> list[ir.Value]:
    """What a detector reads of a backbone, finest first.

    In a residual network these are the last sums of each height and width, behind their ReLU where they have one; in
    others the last Convs, likewise. What a network computes at a resolution before its first sum, as a stem, is none.
    """
    nodes = [node for node in graph if is_sum(node)] or [node for node in graph if node.op_type == "Conv"]
    found: dict[tuple[object, ...], ir.Value] = {}
    for value in (activated(node.outputs[0]) for node in nodes):
        assert value.shape is not None, f"{value.name} has no shape"
        found[tuple(value.shape)[2:]] = value
    return list(found.values())


def as_read(value: ir.Value) -> ir.Value:
    """The tensor as it is read: what a DQ gives where nothing but a Q reads it; else itself.

    So an integer kernel stays one, and the graph computes what it would without this reader.
    """
    readers = users(value)
    if not readers or any(reader.op_type != QUANTIZE for reader in readers):
        return value
    dequantizers = [user for user in users(readers[0].outputs[0]) if user.op_type == DEQUANTIZE]
    return dequantizers[0].outputs[0] if dequantizers else value
