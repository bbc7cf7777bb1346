"""Writes the fp8 graph for TensorRT: Q/DQ of float8e4m3fn in the fp16 graph, placed as int8 is; experimental."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.writing.for_tensorrt import write_codes
from wrn_deploy.calib.writing.qdq import FP8, weight_scale

__all__ = ["first_convs", "quantize_fp8"]


def quantize_fp8(fp32: ir.Model, fp16: ir.Model, table: CalibrationTable) -> ir.Model:
    """A copy of the fp16 graph with float8e4m3fn Q/DQ at `tensorrt_points`, but for MaxPools and the first Convs.

    A tensor's largest magnitude becomes 448, the largest number of float8e4m3fn (Micikevicius et al., "FP8 formats for
    deep learning", arXiv:2209.05433). The relative precision of the codes is the same everywhere. So clipping gains
    nothing, and the method's threshold is not used; and a Conv's weights have one scale, with which TensorRT-RTX 1.7
    makes the Conv's output fp16 (with one per channel it makes it fp32, and rescales it in another kernel).

    Weights are stored as codes with a DQ only; biases and the classifier stay in fp16, and so do the first Convs: of
    the 256 levels of a pixel, 3 bits of mantissa keep few (int8 has a code for each, see `pixels.py`).
    """
    whole = {name: _whole(found) for name, found in table.tensors.items()}
    unclipped = dataclasses.replace(table, tensors=whole)
    return write_codes(fp32, fp16, unclipped, codec=FP8, float_convs=first_convs(fp32.graph), scales=_one_scale)


def first_convs(graph: ir.Graph) -> list[str]:
    """The Convs without another Conv before them: they read the images."""
    found, behind = [], set[ir.Value | None]()
    for node in graph:
        if not behind.isdisjoint(node.inputs):
            behind.update(node.outputs)
        elif node.op_type == "Conv":
            found.append(node.name or "")
            behind.update(node.outputs)
    return found


def _whole(found: TensorRange) -> TensorRange:
    return dataclasses.replace(found, amax=max(abs(found.low), abs(found.high)), clipped=0.0)


def _one_scale(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.asarray(weight_scale(weights, FP8).max())
