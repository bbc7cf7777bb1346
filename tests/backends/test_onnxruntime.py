"""A session's errors are our own: ONNX Runtime's have no common class."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from wrn_deploy.backends.onnxruntime import OnnxRuntimeBackend
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.sessions import CPU, open_session
from wrn_deploy.spec import TensorSpec

IMAGES = TensorSpec("images", "float32", (4,))


def opened(output: str) -> OnnxRuntimeBackend:
    """A graph that makes (1, 4) of whatever comes in, and so takes one image alone."""
    images, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4]) for name in ("images", "logits")
    )
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [1, 4])
    reshape = helper.make_node("Reshape", ["images", "shape"], ["logits"])
    graph = helper.make_graph([reshape], "graph", [images], [logits], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = open_session(model.SerializeToString(), 1)
    return OnnxRuntimeBackend(session, CPU, IMAGES, (TensorSpec(output, "float32", (4,)),))


def test_a_graph_that_fails_as_it_runs_is_our_error() -> None:
    with opened("logits") as backend:
        backend.upload(np.ones((1, 4), np.float32))
        backend.execute()
        assert backend.download()[0].tolist() == [[1, 1, 1, 1]]
        backend.upload(np.ones((3, 4), np.float32))
        with pytest.raises(DeployError, match=r"(?s)cannot run the graph \(.*logits.*\): export the model again"):
            backend.execute()


def test_a_graph_without_the_bundles_output_is_our_error() -> None:
    with opened("features") as backend:
        backend.upload(np.ones((1, 4), np.float32))
        with pytest.raises(DeployError, match=r"cannot run the graph \(.*features.*\): export the model again"):
            backend.execute()
