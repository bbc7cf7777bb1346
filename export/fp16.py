"""Converts a fp32 graph to fp16: weights and arithmetic in half, input and output still float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from wrn_deploy.export.half import Half, convert_half

__all__ = ["convert_fp16"]

LARGEST = float(np.finfo(np.float16).max)  # 65504
FP16 = Half("fp16", ir.DataType.FLOAT16, LARGEST)


def convert_fp16(model: ir.Model) -> ir.Model:
    """A copy of `model` (fp32) in which every floating-point tensor but the graph's input and output is fp16.

    Raises:
        DeployError: a weight is too large for fp16.
    """
    return convert_half(model, FP16)
