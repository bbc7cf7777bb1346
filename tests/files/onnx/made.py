"""ONNX graphs made by hand, of nodes and constants between images (N, 3, 8, 8) and logits (N, 10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["constant", "network", "write"]


def constant(name: str, values: Any) -> onnx.TensorProto:
    """An initializer; floats are float32, integers int64."""
    array = np.asarray(values)
    return numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)


def network(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    functions: Sequence[onnx.FunctionProto] = (),
    images: Sequence[int | str] = ("N", 3, 8, 8),
) -> onnx.ModelProto:
    """A model of opset 20, and 1 of the domain "own"."""
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, list(images))
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [source], [result], list(constants))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


def write(model: onnx.ModelProto, folder: Path) -> Path:
    """Writes the model to a file in the folder."""
    file = folder / "g.onnx"
    file.write_bytes(model.SerializeToString())
    return file
