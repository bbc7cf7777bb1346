"""Times each node of two ONNX graphs in ONNX Runtime, in interleaved rounds, and matches the nodes to layers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wrn_deploy.calib.lint.finding import Finding
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.sessions import open_session

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "BETWEEN", "RUNS", "WARM_UP", "NodeTime", "RunTimes", "TimedPair", "TimingOptions", "match_layers", "name_nodes",
    "run_interleaved", "time_graphs",
]  # fmt: skip

WARM_UP, RUNS = 3, 3  # runs before the first turn, and in each turn
INPUTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
ARITHMETIC = {
    "float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8", "double": "fp64",
}  # fmt: skip
BETWEEN = "between: "  # prefix of rows that are not a layer but all other nodes of one kind
CAST = "InsertedPrecisionFreeCast_"  # before the name of a node that ONNX Runtime runs in another float type
SUFFIX = re.compile(r"_(?:nchwc|token_\d+|bn|mul)$")  # behind the name of one that it runs in another layout
MULTIPLYING = re.compile(r"Conv|Gemm|MatMul")
FUSED = ("Add", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Sum", "Tanh")  # what it computes within a Conv


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingOptions:
    """How two files are timed: A B A B, `rounds` times; `threads` None: the runtime decides."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPair:
    """What was measured of two files, A and B.

    Args:
        runtime: what ran them.
        measured: the times of A and of B.
        rows_of: for A and for B, the row that each part belongs to, by the part's name.
        findings: the lint findings of B, named by parts or by rows.
    """

    runtime: str
    measured: tuple[RunTimes, RunTimes]
    rows_of: tuple[Mapping[str, str], Mapping[str, str]]
    findings: Sequence[Finding]


def time_graphs(
    models: tuple[ir.Model, ir.Model], timing: TimingOptions, progress: Progress
) -> tuple[RunTimes, RunTimes]:
    """Runs both graphs in interleaved rounds on random inputs: times do not depend on the pixels.

    Raises:
        UsageError: a graph has another, fixed batch.
        DeployError: a graph cannot be run.
        MachineError: onnxruntime is not installed.
    """
    with scratch_folder() as folder, contextlib.ExitStack() as stack:
        runs = []
        for side, model in zip("AB", models, strict=True):
            try:
                runs.append(_ProfiledRun(model, timing, folder, stack))
            except DeployError as error:
                raise type(error)(f"{side}: {error}") from error
        run_interleaved([run.repeat for run in runs], timing, progress)
        first, second = (_read_trace(run.end()) for run in runs)
    return first, second


def run_interleaved(repeats: Sequence[Callable[[int], None]], timing: TimingOptions, progress: Progress) -> None:
    """Calls each of `repeats`, which runs something N times, to warm up and then in every round."""
    with progress.task("Timing A B, interleaved", timing.rounds) as advance:
        for repeat in repeats:
            repeat(WARM_UP)
        for _ in range(timing.rounds):
            for repeat in repeats:
                repeat(RUNS)
            advance(1)


class _ProfiledRun:
    """A profiled session and the inputs that every run gets; `stack` ends the trace before its folder is removed."""

    def __init__(self, model: ir.Model, timing: TimingOptions, folder: Path, stack: contextlib.ExitStack) -> None:
        import onnx_ir as ir

        self._trace: Path | None = None
        self._session = open_session(ir.to_proto(model).SerializeToString(), timing.threads, traces=folder)
        stack.callback(self.end)
        self._feed = {value.name: _random(value, timing.batch) for value in self._session.get_inputs()}

    def repeat(self, times: int) -> None:
        try:
            for _ in range(times):
                self._session.run(None, self._feed)
        except Exception as error:  # ONNX Runtime's exceptions have no common class below Exception
            raise DeployError(f"ONNX Runtime cannot run the graph ({error}): export the model again") from error

    def end(self) -> Path:
        if self._trace is None:
            self._trace = Path(self._session.end_profiling())
        return self._trace


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


def name_nodes(model: ir.Model) -> ir.Model:
    """Names nameless nodes after their output, as lint does; returns the model itself."""
    for node in model.graph.all_nodes():
        node.name = node.name or node.outputs[0].name
    return model


def match_layers(
    models: tuple[ir.Model, ir.Model], measured: tuple[RunTimes, RunTimes]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Finds, for A and for B, the row of each measured name; for B also the rows of the Q/DQ that feed its layers.

    A row is a Conv, Gemm or MatMul of either graph, or "between: " and the kind of all other nodes.
    """
    from wrn_deploy.engines.promise import expected_precisions

    layers = {node.name for model in models for node in expected_precisions(model)}
    first, second = (_match(model, parts.parts, layers) for model, parts in zip(models, measured, strict=True))
    feeding = {name: node.name for node in expected_precisions(models[1]) for name in node.around}
    return first, {**feeding, **second}


def _match(model: ir.Model, parts: Collection[NodeTime], layers: Collection[str]) -> dict[str, str]:
    nodes = {node.name or "": node for node in model.graph}
    rows_of = {part.name: base for part in parts if (base := _base(part, nodes)) in layers and part.kind != "Cast"}
    taken = set(rows_of.values())
    for part in parts:
        if part.name not in rows_of:
            # The kind is the graph's operator: a BN that ONNX Runtime runs as a Conv is a BN.
            node = nodes.get(_base(part, nodes)) if MULTIPLYING.search(part.kind) else None
            kind = part.kind if node is None else node.op_type
            rows_of[part.name] = _fused_into(node, layers, taken) or BETWEEN + kind
    return rows_of


def _base(part: NodeTime, nodes: Collection[str]) -> str:
    """The name of the graph's node that this one was made from."""
    name = part.name
    if name.startswith(CAST) and part.kind != "Cast":
        name = name.removeprefix(CAST)
    while name not in nodes and SUFFIX.search(name):
        name = SUFFIX.sub("", name)
    return name


def _fused_into(node: ir.Node | None, layers: Collection[str], taken: Collection[str]) -> str | None:
    """The layer that an activation or sum was fused into: the nearest one before it that did not run by itself."""
    waiting = [node]
    for _ in range(4):
        fused = [node for node in waiting if node is not None and node.op_type in FUSED]
        waiting = list(dict.fromkeys(value.producer() for node in fused for value in node.inputs if value is not None))
        for found in waiting:
            if found is not None and found.name in layers and found.name not in taken:
                return found.name
    return None
