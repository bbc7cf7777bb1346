"""A session's errors are our own, and graphs made for TensorRT reach it as they are."""

from __future__ import annotations

import dataclasses
import threading
import time
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
from wrn_deploy.machine import Gpu
from wrn_deploy.runtime.providers import CPU, CUDA, CUDA_GRAPHS, RTX, TENSORRT, Provider
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


class Noting:
    """A session that notes the number of the graph of each run, and whether another run was going on."""

    def __init__(self, session: Any) -> None:
        self.session, self.numbers, self.running, self.together = session, list[str | None](), 0, 0

    def io_binding(self) -> Any:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.running += 1
        self.together = max(self.together, self.running)
        self.numbers.append(None if options is None else options.get_run_config_entry("gpu_graph_id"))
        time.sleep(0.002)
        self.session.run_with_iobinding(binding, options)
        self.running -= 1


def answer(backend: OnnxRuntimeBackend, size: int, value: float) -> list[list[float]]:
    backend.upload(np.full((size, 4), value, np.float32))
    backend.execute()
    answers: list[list[float]] = backend.download()[0].tolist()
    return answers


@pytest.fixture
def session() -> Noting:
    images, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4]) for name in ("images", "logits")
    )
    graph = helper.make_graph([helper.make_node("Neg", ["images"], ["logits"])], "graph", [images], [logits])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return Noting(open_session(model.SerializeToString(), 1))


def test_each_size_of_each_sibling_is_a_graph_of_its_own_in_memory_that_stays(session: Noting) -> None:
    """A CPU's session, as if it ran CUDA graphs: ONNX Runtime would compute in the memory that it captured."""
    provider, results = dataclasses.replace(CPU, options=CUDA_GRAPHS.options), (TensorSpec("logits", "float32", (4,)),)
    with OnnxRuntimeBackend(session, provider, IMAGES, results) as backend, backend.sibling() as other:
        for size, value in ((1, 1.0), (2, 2.0), (1, 3.0), (2, 4.0)):
            assert answer(backend, size, value) == [[-value] * 4] * size
        kept = [binding.images for binding in backend._bindings.values()]
        assert answer(other, 1, 5.0) == [[-5.0] * 4]
        assert answer(backend, 1, 6.0) == [[-6.0] * 4]
        assert [binding.images for binding in backend._bindings.values()] == kept
    assert session.numbers == ["0", "1", "0", "1", "2", "0"]


@pytest.mark.parametrize(("options", "most"), [(CUDA_GRAPHS.options, 1), (CUDA.options, 2)])
def test_siblings_take_turns_if_they_run_graphs(session: Noting, options: dict[str, str], most: int) -> None:
    provider, results = dataclasses.replace(CPU, options=options), (TensorSpec("logits", "float32", (4,)),)
    with OnnxRuntimeBackend(session, provider, IMAGES, results) as backend, backend.sibling() as other:
        threads = [
            threading.Thread(target=lambda one=one: [answer(one, 1, 1.0) for _ in range(20)])
            for one in (backend, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert session.together == most


def test_without_graphs_one_size_is_kept_and_executing_nothing_is_an_error(session: Noting) -> None:
    with OnnxRuntimeBackend(session, CPU, IMAGES, (TensorSpec("logits", "float32", (4,)),)) as backend:
        with pytest.raises(DeployError, match="no batch to run: upload one first"):
            backend.execute()
        for size in (1, 2, 1):
            assert answer(backend, size, 1.0) == [[-1.0] * 4] * size
            assert [*backend._bindings] == [size]
    assert session.numbers == [None] * 3


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


def test_a_tensorrt_that_the_provider_cannot_load_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the row of TensorRT's provider asks for it."""
    monkeypatch.setattr(onnxruntime, "has_provider", lambda _provider: True)
    monkeypatch.setattr(onnxruntime, "find_gpu", lambda: Gpu("NVIDIA H200", "9.0", 143771, "580.65.06"))
    monkeypatch.setattr(onnxruntime, "tensorrt_mismatch", lambda: "needs TensorRT 10")
    assert onnxruntime.RUNTIMES["onnxruntime_tensorrt"].unfit(None) == "needs TensorRT 10"
    assert onnxruntime.RUNTIMES["onnxruntime_cuda"].unfit(None) is None
