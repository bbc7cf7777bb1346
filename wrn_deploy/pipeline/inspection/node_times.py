"""Times each node of two ONNX graphs on this CPU with ONNX Runtime's profiler, in interleaved rounds."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import open_session

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["RUNS", "WARM_UP", "NodeTime", "RunTimes", "TimingOptions", "time_graphs"]

WARM_UP, RUNS = 3, 3  # runs before the first turn, and in each turn
INPUTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
ARITHMETIC = {
    "float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8", "double": "fp64",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingOptions:
    """How two candidates are timed: A B A B, `rounds` times; `threads` None: the runtime decides."""

    batch: int = 1
    rounds: int = 10
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node or kernel: its milliseconds in each run, and the type of its first input, as in "int8" ("": unknown)."""

    name: str
    kind: str
    arithmetic: str
    times_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Milliseconds of each whole run, and of its parts."""

    totals_ms: tuple[float, ...]
    parts: tuple[NodeTime, ...]


def time_graphs(
    models: tuple[ir.Model, ir.Model], timing: TimingOptions, progress: Progress
) -> tuple[RunTimes, RunTimes]:
    """Runs both graphs in interleaved rounds on random inputs: times do not depend on the pixels.

    Raises:
        UsageError: a graph's batch is fixed and another one.
        DeployError: a graph cannot be run.
        MachineError: onnxruntime is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder, contextlib.ExitStack() as stack:
        sessions = []
        for side, model in zip("AB", models, strict=True):
            try:
                sessions.append(stack.enter_context(_session(model, timing, Path(folder))))
            except DeployError as error:
                raise type(error)(f"{side}: {error}") from error
        with progress.task("Timing nodes: A B, interleaved", timing.rounds) as advance:
            for run in sessions:
                run.repeat(WARM_UP)
            for _ in range(timing.rounds):
                for run in sessions:
                    run.repeat(RUNS)
                advance(1)
        first, second = (_read_trace(run.end()) for run in sessions)
    return first, second


class _Run:
    """A profiled session and the inputs that every run gets."""

    def __init__(self, session: Any, feed: dict[str, Any]) -> None:
        self.feed = feed
        self._session = session
        self._trace: Path | None = None

    def repeat(self, times: int) -> None:
        try:
            for _ in range(times):
                self._session.run(None, self.feed)
        except Exception as error:  # ONNX Runtime's exceptions have no common class below Exception
            raise DeployError(f"ONNX Runtime cannot run the graph ({error}): export the model again") from error

    def end(self) -> Path:
        if self._trace is None:
            self._trace = Path(self._session.end_profiling())
        return self._trace


@contextlib.contextmanager
def _session(model: ir.Model, timing: TimingOptions, folder: Path) -> Iterator[_Run]:
    import onnx_ir as ir

    session = open_session(ir.to_proto(model).SerializeToString(), timing.threads, traces=folder)
    run = _Run(session, {})
    try:
        run.feed = {value.name: _random(value, timing.batch) for value in session.get_inputs()}
        yield run
    finally:
        run.end()  # before the folder is removed


def _random(value: Any, batch: int) -> Any:
    known = [size if isinstance(size, int) else None for size in value.shape]
    if not known or None in known[1:] or value.type not in INPUTS:
        raise DeployError(
            f"the input {value.name} is {value.type} of {value.shape}: expected float32, float16 or uint8, with a "
            "batch first and all other sizes fixed"
        )
    if known[0] not in (None, batch):
        raise UsageError(f"the graph's batch is {known[0]}, not {batch}: pass --batch {known[0]}")
    shape = [batch, *(size or 1 for size in known[1:])]
    numbers = np.random.default_rng(0)
    if value.type == "tensor(uint8)":
        return numbers.integers(0, 256, shape, dtype=np.uint8)
    return numbers.standard_normal(shape).astype(INPUTS[value.type])


def _read_trace(file: Path) -> RunTimes:
    """Sorts the nodes' events into runs: they lie within the time of the run's own event."""
    events = [event for event in json.loads(file.read_text(encoding="utf-8")) if "dur" in event]
    runs = sorted((event["ts"], event["dur"]) for event in events if event["name"] == "model_run")[WARM_UP:]
    found: dict[tuple[str, str, str], list[float]] = {}
    for event in events:
        if event["cat"] != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        index = next((at for at, (start, length) in enumerate(runs) if 0 <= event["ts"] - start <= length), None)
        if index is not None:
            name, details = event["name"].removesuffix("_kernel_time"), event["args"]
            times = found.setdefault((name, details["op_name"], _arithmetic(details)), [0.0] * len(runs))
            times[index] += event["dur"] / 1000
    parts = tuple(NodeTime(*key, tuple(times)) for key, times in found.items())
    return RunTimes(tuple(length / 1000 for _, length in runs), parts)


def _arithmetic(details: dict[str, Any]) -> str:
    types = [name for shape in details.get("input_type_shape", []) for name in shape]
    return ARITHMETIC.get(types[0], types[0]) if types else ""
