"""The Backend and Runtime protocols; lists, examines, chooses and opens backends; numpy only."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.manifest import Artifact, Kind
from wrn_deploy.plugins import near_names, plugin_names
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.spec import EXPERIMENTAL, Precision, TensorSpec

__all__ = [
    "PREFERRED", "Array", "Backend", "Candidate", "DeviceBackend", "Runtime", "actionable", "choose", "default_pairs",
    "examine", "find_runtime", "known_pairs", "open_backend", "parse_precision", "runtimes",
]  # fmt: skip

BACKENDS = "wrn_deploy.backends"

# Without a backend, `Runner.open` takes the first of these that the bundle has and this machine can run. No int8: it
# changes answers, so the caller must name it.
PREFERRED = {
    "tensorrt": Precision.FP16,
    "tensorrt_rtx": Precision.FP16,
    "onnxruntime_cuda": Precision.FP16,
    "onnxruntime": Precision.FP32,
}

MAX_THREADS = 1024  # more is a mistake, for which libraries blame the graph

Array = npt.NDArray[Any]


class Backend(Protocol):
    """An opened artifact, ready to run; a context manager. It never times itself; `bench/measuring/latency.py` does.

    `batches` are the batch sizes it takes. `execute` may return before the device is done; `synchronize` waits for it.
    Not thread-safe: each thread takes a `sibling`. After `close`, every other method raises DeployError.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: range

    def upload(self, batch: Array) -> None:
        """Copies the next input, (N, *inputs[0].shape) of `inputs[0].dtype`; the caller may reuse it at once.

        Raises:
            DeployError: N is not in `batches`.
        """

    def execute(self) -> None:
        """Starts one inference on the uploaded batch; may be called repeatedly."""

    def synchronize(self) -> None:
        """Waits for every started inference."""

    def elapsed_ms(self) -> float | None:
        """Device time of the last `execute` in ms (CUDA events), without copies; waits for it.

        The first call starts the clock, which costs two events per inference, and returns None. Always None on a
        device without such a clock, such as a CPU. Inferences on the caller's device arrays are not timed.
        """

    def download(self) -> tuple[Array, ...]:
        """The outputs of the last inference, each (N, *shape) of its dtype; the caller owns them."""

    def infer(self, batch: Array) -> tuple[Array, ...]:
        """Uploads a batch, runs it, waits, and downloads the outputs."""
        self.upload(batch)
        self.execute()
        self.synchronize()
        return self.download()

    def infer_each(self, batches: Iterable[Array]) -> Iterator[tuple[Array, ...]]:
        """Yields the outputs of each batch, in order, as `infer` returns them.

        On a GPU the next batches are taken, and copied there, before a batch's outputs are yielded: copies run beside
        the inference. What was uploaded before is gone. Make no other call until the iterator has ended or is closed.
        """
        for batch in batches:
            yield self.infer(batch)

    def slot(self, count: int) -> AbstractContextManager[Array]:
        """Lends memory for `count` images, (count, *inputs[0].shape) of `inputs[0].dtype`, uninitialised.

        A GPU copies from it directly: `upload` of such an array, or of a part of it, copies nothing on the CPU, so it
        must not be changed until the outputs are there. Threads may share the backend for this call alone.
        """
        source = self.inputs[0]
        return contextlib.nullcontext(np.empty((count, *source.shape), source.dtype))

    def sibling(self) -> Self:
        """A second backend on the same weights, with its own buffers and stream; close each one."""

    def close(self) -> None:
        """Frees its memory, and the weights with the last sibling; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@runtime_checkable
class DeviceBackend(Backend, Protocol):
    """A backend that also runs on arrays already on the GPU."""

    def check_device_arrays(self, images: DeviceArray, outputs: tuple[DeviceArray, ...]) -> None:
        """Raises DeployError unless `infer_on_device` can take them."""

    def infer_on_device(self, images: DeviceArray, outputs: tuple[DeviceArray, ...], stream: int) -> None:
        """Starts an inference on the caller's memory, in the order of the caller's stream.

        Returns at once: the arrays are in use until the stream reaches this point, and later work on the stream sees
        the outputs. Outputs beyond `outputs` are computed and dropped.

        Args:
            images: the input, on the first GPU, its address a multiple of 256.
            outputs: arrays for the first outputs, likewise.
            stream: CUDA handle of a stream that is not being captured; 0: the default stream (slower: TensorRT then
                waits for the GPU).

        Raises:
            DeployError: an array does not fit.
            MachineError: cuda-bindings is not installed, or CUDA failed.
        """


class Runtime(Protocol):
    """One entry of RUNTIMES in a file of `wrn_deploy/backends`: what runs artifacts, and whether it can do so here."""

    @property
    def title(self) -> str:
        """Display name, as in "ONNX Runtime CPU"."""

    @property
    def comparison_only(self) -> bool:
        """Whether it is measured only on request: a variant, or another vendor's runtime."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions it runs, its preferred one first."""

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The artifact it would run; raises DeployError, with the command that makes it, if the bundle has none."""

    def unfit(self, artifact: Artifact | None) -> str | None:
        """Why this machine cannot run the artifact (None: any artifact), or None if it can."""

    def open_backend(self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None) -> Backend:
        """Opens the artifact with `threads` CPU threads (None: the library's default).

        `precision` differs from the artifact's if the runtime converts the artifact itself.
        """


def runtimes() -> dict[str, Runtime]:
    """Every backend's name, as users type it, and its runtime, sorted by name; loads no heavy library."""
    found: dict[str, Runtime] = {}
    for file in plugin_names(BACKENDS):
        found |= importlib.import_module(f"{BACKENDS}.{file}").RUNTIMES
    return dict(sorted(found.items()))


def find_runtime(backend: str) -> Runtime:
    """The runtime of that name; raises DeployError, which lists the known ones, if there is none."""
    known = runtimes()
    if backend not in known:
        near = near_names(backend, list(known))
        raise DeployError(f"unknown backend {backend!r}{near}: expected one of {', '.join(known)}")
    return known[backend]


def known_pairs() -> list[tuple[str, Precision]]:
    """Every backend at each precision it runs, whether or not this machine can; in a report's order."""
    return [(name, precision) for name, runtime in runtimes().items() for precision in runtime.precisions]


def default_pairs(bundle: Bundle) -> list[tuple[str, Precision]]:
    """Those measured by default: none for comparison only; experimental precisions only if the bundle has a plan."""
    planned = {artifact.precision for artifact in bundle.artifacts.values() if artifact.kind is Kind.PLAN}
    measured = {name: runtime for name, runtime in runtimes().items() if not runtime.comparison_only}
    pairs = [(name, precision) for name, runtime in measured.items() for precision in runtime.precisions]
    return [(name, precision) for name, precision in pairs if precision not in EXPERIMENTAL - planned]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backend at a precision, examined on this machine.

    Attributes:
        runtime: what would run it.
        artifact: what it would run; None if the bundle lacks it.
        obstacle: why it cannot run: a MachineError if the machine cannot, another DeployError if the bundle lacks the
            artifact, or it is stale or damaged.
    """

    runtime: Runtime
    artifact: Artifact | None
    obstacle: DeployError | None

    @property
    def skipped(self) -> str | None:
        """The obstacle's text."""
        return None if self.obstacle is None else str(self.obstacle)


def examine(bundle: Bundle, backend: str, precision: Precision) -> Candidate:
    """Finds out whether a backend can run here; checks the artifact's file against the manifest."""
    runtime, artifact, lacking = find_runtime(backend), None, None
    try:
        artifact = runtime.find_artifact(bundle, precision)
    except DeployError as error:
        lacking = error
    reason = runtime.unfit(artifact)  # a missing package says more than the plan that cannot be there
    return Candidate(runtime=runtime, artifact=artifact, obstacle=lacking if reason is None else MachineError(reason))


def open_backend(bundle: Bundle, *, backend: str, precision: Precision, threads: int | None = None) -> Backend:
    """Opens the bundle's artifact of `precision` with a backend.

    Raises:
        UsageError: the backend does not run this precision; fewer than 1 thread, or more than 1024.
        DeployError: the bundle lacks the artifact, or it is stale or damaged.
        MachineError: this machine cannot run it.
    """
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"{threads} threads: expected 1 to {MAX_THREADS}")
    runtime = find_runtime(backend)
    if precision not in runtime.precisions:
        known = ", ".join(runtime.precisions)
        raise UsageError(f"{runtime.title} does not run {precision} here: expected one of {known}")
    found = examine(bundle, backend, precision)
    if isinstance(found.obstacle, MachineError):
        raise MachineError(f"{runtime.title} cannot run {precision}: {found.obstacle}")
    if found.obstacle is not None:
        raise found.obstacle
    assert found.artifact is not None
    return runtime.open_backend(bundle, found.artifact, precision=precision, threads=threads)


def parse_precision(name: Precision | str | None) -> Precision | None:
    """The precision called `name`; raises UsageError if there is none."""
    if name is None:
        return None
    try:
        return Precision(name)
    except ValueError as error:
        raise UsageError(f"precision {name!r}: expected one of {', '.join(Precision)}") from error


def choose(bundle: Bundle, backend: str | None, precision: Precision | None) -> tuple[str, Precision]:
    """The backend and precision to open: those given, completed by the first of PREFERRED that can run."""
    if backend is not None and precision is not None:
        return backend, precision
    if backend is not None:
        return backend, PREFERRED.get(backend) or find_runtime(backend).precisions[0]
    obstacles: list[tuple[str, DeployError]] = []
    for name, preferred in PREFERRED.items():
        wanted = precision or preferred
        if wanted not in find_runtime(name).precisions:
            continue
        candidate = examine(bundle, name, wanted)
        if candidate.obstacle is None:
            return name, wanted
        obstacles.append((f"{candidate.runtime.title} {wanted}: {candidate.obstacle}", candidate.obstacle))
    kind, reasons = actionable(obstacles)
    raise kind(f"no backend here can run {bundle.folder}: {reasons}")


def actionable(obstacles: Sequence[tuple[str, DeployError]]) -> tuple[type[DeployError], str]:
    """What the error is for several obstacles, each with its text: the kind, and the texts, in the order to act on.

    What the bundle lacks, a command can make; what the machine lacks comes last, and is the kind if it is all there is.
    """
    ordered = sorted(obstacles, key=lambda each: isinstance(each[1], MachineError))
    kind = type(ordered[0][1]) if ordered else MachineError
    return kind, "; ".join(text for text, _ in ordered)
