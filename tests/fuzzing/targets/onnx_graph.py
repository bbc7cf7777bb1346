"""ONNX graphs, of a bundle and from elsewhere, as they are checked before a library reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wrn_deploy.errors import DeployError
from wrn_deploy.files.onnx.check import check_bundle_graph
from wrn_deploy.pipeline.read_graph import read_graph

__all__ = ["PACKAGES", "read", "seeds"]

PACKAGES = ("onnx", "onnx_ir")


def seeds(_folder: Path) -> Iterator[bytes]:
    """A small network of the kind that is exported, and one with a function and a branch."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    weights = [
        numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w"),
        numpy_helper.from_array(np.zeros((10, 4), np.float32), "fc"),
        numpy_helper.from_array(np.array([-1, 4], np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["logits"], transB=1),
    ]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    graph = helper.make_graph(nodes, "g", [images], [logits], weights)
    yield helper.make_model(graph, opset_imports=opsets).SerializeToString()

    branch = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["x"])], "b", [], [helper.make_empty_tensor_value_info("x")]
    )
    condition = numpy_helper.from_array(np.array(1, bool), "condition")
    nodes = [
        helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Twice", ["y"], ["z"], domain="own"),
    ]
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets[:1]
    )
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 3, 8, 8])]
    graph = helper.make_graph(nodes, "g", [images], outputs, [condition])
    model = helper.make_model(graph, opset_imports=opsets, functions=[function])
    onnx.checker.check_model(model)
    yield model.SerializeToString()


def read(path: Path) -> None:
    """Checks it as a graph of a bundle; and checks and reads it as one from elsewhere."""
    refused: DeployError | None = None
    try:
        check_bundle_graph(path)
    except DeployError as error:
        refused = error
    read_graph(path)
    if refused is not None and "which no graph of a bundle has" not in str(refused):
        raise refused
