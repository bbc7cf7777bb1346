"""Opens ONNX Runtime sessions: telemetry off, no silent fall back; the one place that imports onnxruntime."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DeployError, MachineError, missing_package

__all__ = ["CPU", "infer_with", "open_session", "providers"]

CPU = "CPUExecutionProvider"
ERRORS_ONLY = 3  # ONNX Runtime's severities: 0 verbose .. 4 fatal


def open_session(
    graph: Path | bytes,
    threads: int | None = None,
    provider: str = CPU,
    *,
    plans_memory: bool = True,
    fuses_qdq: bool = True,
) -> Any:
    """An InferenceSession on `provider` alone.

    Args:
        graph: a file, or a serialized model.
        threads: CPU threads within an operator (None: ONNX Runtime's choice).
        provider: the execution provider.
        plans_memory: whether it lays out the memory of a whole run beforehand and keeps that for each input shape:
            faster, but it takes more memory where many tensors live to the end of the run.
        fuses_qdq: whether it may make integer kernels of Q/DQ. Off for graphs that are made for TensorRT: of Q/DQ in an
            fp16 graph with a MaxPool, ONNX Runtime 1.31 makes something that computes other numbers (measured).

    Raises:
        MachineError: onnxruntime is not installed, or takes another provider.
        DeployError: the graph cannot be loaded.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise missing_package("onnxruntime", "cpu", "running an ONNX graph")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at import; the wheels' telemetry is on otherwise
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.enable_mem_pattern = plans_memory
    if not fuses_qdq:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    name = graph if isinstance(graph, Path) else "the graph"
    try:
        session = ort.InferenceSession(graph, options, providers=[provider])
    except Exception as error:  # its exceptions have no common class below Exception
        raise DeployError(f"ONNX Runtime cannot load {name} ({error}): export the model again") from error
    if session.get_providers()[0] != provider:
        raise MachineError(f"ONNX Runtime runs {name} on {session.get_providers()}: expected {provider}")
    return session


def infer_with(session: Any) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """A function from a session's one input to its one output."""
    source = session.get_inputs()[0].name

    def infer(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = session.run(None, {source: images})[0]
        return logits

    return infer


def providers() -> list[str]:
    """The execution providers of the installed ONNX Runtime; empty without one."""
    if importlib.util.find_spec("onnxruntime") is None:
        return []
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort

    return list(ort.get_available_providers())
