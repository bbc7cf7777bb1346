"""Opens ONNX Runtime sessions: telemetry off, no silent fall back to another provider."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DamagedFile, MachineError
from wrn_deploy.process.streams import quiet_stderr
from wrn_deploy.runtime.providers import (
    CPU,
    Provider,
    has_provider,
    import_onnxruntime,
    load_libraries,
    loading_failure,
    plugin_devices,
    providers,
)  # fmt: skip

__all__ = ["SPIN", "infer_all", "infer_with", "open_session", "session_errors"]

SPIN = "WRN_DEPLOY_SPIN"
FATAL_ONLY = 4  # ONNX Runtime's severity: it raises errors too, and its log has a graph's names as they are


def open_session(
    graph: Path | bytes,
    threads: int | None = None,
    provider: Provider = CPU,
    *,
    plans_memory: bool = True,
    fuses_qdq: bool = True,
    spins: bool | None = None,
    keeps_memory: bool = True,
    traces: Path | None = None,
) -> Any:
    """An InferenceSession on `provider` alone.

    Args:
        graph: a file, or a serialized model.
        threads: CPU threads within an operator (None: ONNX Runtime's default).
        provider: the execution provider.
        plans_memory: whether to plan the memory of a whole run in advance for each input shape: faster, but larger if
            many tensors live to the end of the run.
        fuses_qdq: whether to fuse Q/DQ into integer kernels. Off for graphs made for TensorRT: with Q/DQ and a MaxPool
            in an fp16 graph, ONNX Runtime 1.31 and 1.32 compute other numbers (measured).
        spins: whether idle threads wait busily for the next operator. Off where several sessions take turns, or where
            other programs need the cores: on a busy machine waiting takes a third of the CPU time (measured). None:
            yes, unless the environment variable WRN_DEPLOY_SPIN is 0.
        keeps_memory: whether to keep the memory of a run for the next one. Off where many sessions take turns.
        traces: the folder for a JSON file of each node's times, whose path `end_profiling()` returns. Threads then do
            not spin between runs, so that sessions can take turns.

    Raises:
        MachineError: onnxruntime is not installed, lacks the provider, cannot load it, or runs part of the graph on
            another one.
        DeployError: the graph cannot be loaded.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.enable_mem_pattern = plans_memory
    if not fuses_qdq:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.enable_cpu_mem_arena = keeps_memory
    if not (os.environ.get(SPIN) != "0" if spins is None else spins):
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if traces is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(traces / "trace")
        options.add_session_config_entry("session.force_spinning_stop", "1")
    name = graph.name if isinstance(graph, Path) else "the graph"
    if provider.device != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = _create(ort, graph, options, provider)
    _check_placement(session, provider, name)
    return session


def _create(ort: Any, graph: Path | bytes, options: Any, provider: Provider) -> Any:
    if not has_provider(provider):
        raise MachineError(
            f"the installed ONNX Runtime lacks {provider.name}: expected one of {', '.join(providers())}"
        )
    named = [(provider.name, dict(provider.options))]
    if provider.plugin is not None:
        options.add_provider_for_devices(plugin_devices(ort, provider, provider.plugin)[:1], dict(provider.options))
        named = []
    elif provider.device != "cpu":
        load_libraries(provider.module)
    # It takes no path that is not UTF-8, which Python shows with surrogates.
    model = graph.read_bytes() if isinstance(graph, Path) and re.search("[\ud800-\udfff]", str(graph)) else graph
    said: list[str] = []  # why a provider's library cannot be loaded, ONNX Runtime writes to file descriptor 2 alone
    try:
        with quiet_stderr(said) if provider.device != "cpu" else contextlib.nullcontext():
            # A fall back would print to stdout and open a CPU session, now or when a run fails.
            session = ort.InferenceSession(model, options, providers=named, enable_fallback=0)
    except Exception as error:  # its exceptions have no common class below Exception
        failure = loading_failure(provider, [*said, str(error)])
        if failure is not None:
            raise failure from error
        name = graph if isinstance(graph, Path) else "the graph"
        raise DamagedFile(f"ONNX Runtime cannot load {name} ({error}): export the model again") from error
    failure = loading_failure(provider, said)
    if failure is not None:
        raise failure
    return session


def _check_placement(session: Any, provider: Provider, name: str) -> None:
    """Checks that the provider runs every node; ONNX Runtime moves nodes it does not take to the CPU."""
    if session.get_providers()[0] != provider.name:
        raise MachineError(f"ONNX Runtime runs {name} on {session.get_providers()}: expected {provider.name}")
    if provider.device == "cpu":
        return
    for part in session.get_provider_graph_assignment_info():
        if part.ep_name != provider.name:
            nodes = ", ".join(f"{node.op_type} {node.name}".strip() for node in part.get_nodes()[:5])
            raise MachineError(
                f"{provider.name} leaves part of {name} to {part.ep_name} ({nodes}): expected all nodes on one "
                "provider; run the graph on another backend"
            )


def infer_with(session: Any) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """A function from a session's one input to its one output."""
    outputs = infer_all(session)

    def infer(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        (logits,) = outputs(images).values()
        return logits

    return infer


def infer_all(session: Any) -> Callable[[npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """A function from a session's one input to its outputs by name, in order."""
    source, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def infer(images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        return dict(zip(names, session.run(None, {source: images}), strict=True))

    return infer


def session_errors() -> tuple[type[Exception], ...]:
    """What a session's calls raise, in the absence of a common class; not what a signal handler raises meanwhile."""
    from onnxruntime.capi import onnxruntime_pybind11_state as module

    own = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Exception)]
    return (MemoryError, RuntimeError, *own)
