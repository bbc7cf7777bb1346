"""A session's errors are our own, and graphs made for TensorRT reach it as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from wrn_deploy.backends import onnxruntime
from wrn_deploy.backends.onnxruntime import OnnxRuntimeBackend
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.providers import CPU, RTX, TENSORRT, Provider
from wrn_deploy.runtime.sessions import open_session
from wrn_deploy.spec import Precision, TensorSpec

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


@pytest.mark.parametrize("provider", [TENSORRT, RTX])
def test_graphs_made_for_tensorrt_are_not_rewritten(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider
) -> None:
    """ONNX Runtime rewrites Q/DQ before a provider gets the graph, and then computes other numbers."""
    bundle, asked = Bundle.open(made_bundle), list[bool]()

    def note(graph: Path, threads: int | None, _provider: Provider, *, fuses_qdq: bool) -> Any:
        asked.append(fuses_qdq)
        return open_session(graph, threads, fuses_qdq=fuses_qdq)

    monkeypatch.setattr(onnxruntime, "open_session", note)
    runtimes = [each for each in onnxruntime.RUNTIMES.values() if each.provider is provider]
    for runtime in runtimes:
        for precision in runtime.precisions:
            artifact = runtime.find_artifact(bundle, precision)
            runtime.open_backend(bundle, artifact, precision=precision, threads=1).close()
            assert asked.pop() == (precision is not Precision.INT8)
    assert runtimes
