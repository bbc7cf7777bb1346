"""The Backend protocol, which contenders there are, and how one is opened; numpy's types only."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, cast, runtime_checkable

import numpy.typing as npt

from wrn_deploy.bundle import Artifact, Bundle, Kind
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.plugins import load_plugin, plugin_names
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.spec import EXPERIMENTAL, Precision, TensorSpec

__all__ = [
    "Array", "Backend", "Candidate", "DeviceBackend", "Runtime", "backends", "contenders", "examine", "is_peer",
    "open_backend", "precisions_of", "title_of", "unfit",
]  # fmt: skip

BACKENDS = "wrn_deploy.backends"

Array = npt.NDArray[Any]


class Backend(Protocol):
    """One opened artifact, ready to run. It never times itself: `bench/measuring/latency.py` holds the only clock.

    `batches` are the sizes of batch that it takes. `execute` may return before the device is done; `synchronize` waits
    for it. Not for several threads at once: each thread takes a `sibling`. After `close`, every other method raises
    DeployError.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: range

    def upload(self, batch: Array) -> None:
        """Takes the next input, (N, *inputs[0].shape) of `inputs[0].dtype`; it may be reused once this returns.

        Raises:
            DeployError: N is none of `batches`.
        """

    def execute(self) -> None:
        """Starts one inference on what was uploaded; may be called again and again."""

    def synchronize(self) -> None:
        """Waits until every started inference is done."""

    def elapsed_ms(self) -> float | None:
        """What the last `execute` took by the device's own clock (CUDA events), copies left out; waits for it.

        The first call starts the clock, which costs two events an inference: it gives None, and so does every call
        where the device has no such clock, as a CPU. It does not see what ran on arrays of the caller's.
        """

    def download(self) -> tuple[Array, ...]:
        """The outputs of the last inference, each (N, *shape) of its dtype; the caller owns them."""

    def sibling(self) -> Self:
        """Another one on the same weights, with buffers (and a stream) of its own; each is closed by itself."""

    def close(self) -> None:
        """Gives its memory back, the weights' too with the last sibling; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class DeviceBackend(Backend, Protocol):
    """A backend that also takes arrays which are on the GPU already."""

    def check_device_arrays(self, images: DeviceArray, outputs: tuple[DeviceArray, ...]) -> None:
        """Raises DeployError unless they can be given to `infer_on_device`."""

    def infer_on_device(self, images: DeviceArray, outputs: tuple[DeviceArray, ...], stream: int) -> None:
        """Starts an inference on memory of the caller's, behind what the caller's stream has been given so far.

        It does not wait: the arrays are in use until the stream has come so far. What comes on that stream afterwards
        finds the outputs written. Outputs that are not given are computed and dropped.

        Args:
            images: the input, on the first GPU, its address a multiple of 256.
            outputs: arrays for the first outputs, likewise.
            stream: CUDA's handle of a stream, not being captured; 0: the default stream (slower: TensorRT then waits
                for the GPU).

        Raises:
            DeployError: an array does not fit.
            MachineError: cuda-bindings is not installed, or CUDA failed.
        """


class Runtime(Protocol):
    """What a file in `wrn_deploy/backends` offers as its RUNTIME."""

    @property
    def title(self) -> str:
        """Its name for people, as in "ONNX Runtime CPU"."""

    @property
    def peer(self) -> bool:
        """Whether it is measured for comparison, and only where it is asked for."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those it runs, its preferred one first."""

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The artifact it would run; raises DeployError where the bundle has none (and says what makes it)."""

    def unfit(self, artifact: Artifact | None) -> str | None:
        """Why this machine cannot run the artifact (None: any artifact), or None where it can."""

    def open_backend(self, bundle: Bundle, artifact: Artifact, precision: Precision, threads: int | None) -> Backend:
        """Opens it; `threads` CPU threads (None: the library's own choice).

        The artifact's precision is another one where the runtime itself makes the one that was asked for.
        """


def _runtime(backend: str) -> Runtime:
    return cast("Runtime", load_plugin(BACKENDS, backend).RUNTIME)


def backends() -> list[str]:
    """The files of `wrn_deploy/backends`."""
    return plugin_names(BACKENDS)


def contenders(bundle: Bundle | None = None) -> list[tuple[str, Precision]]:
    """Every backend at every precision that it knows, whether or not this machine can run it; in a report's order.

    With a bundle those that are measured where none is named: without peers, and without experimental precisions
    unless it has a plan of that precision.
    """
    known = [(name, precision) for name in backends() for precision in _runtime(name).precisions]
    if bundle is None:
        return known
    planned = {artifact.precision for artifact in bundle.artifacts.values() if artifact.kind is Kind.PLAN}
    unasked = EXPERIMENTAL - planned
    return [(name, precision) for name, precision in known if precision not in unasked and not is_peer(name)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A contender looked at: its artifact, None where the bundle has none, and what keeps it from running here.

    `obstacle` is a MachineError where the machine cannot run it, and a DeployError where the bundle lacks the artifact,
    or it is stale or damaged.
    """

    artifact: Artifact | None
    obstacle: DeployError | None

    @property
    def skipped(self) -> str | None:
        """The obstacle in words."""
        return None if self.obstacle is None else str(self.obstacle)


def examine(bundle: Bundle, backend: str, precision: Precision) -> Candidate:
    """Finds out whether a contender can run here; the artifact's file is checked against the manifest."""
    runtime = _runtime(backend)
    artifact: Artifact | None = None
    lacking: DeployError | None = None
    try:
        artifact = runtime.find_artifact(bundle, precision)
    except DeployError as error:
        lacking = error
    reason = runtime.unfit(artifact)  # a missing package says more than the plan that cannot be there
    return Candidate(artifact, lacking if reason is None else MachineError(reason))


def is_peer(backend: str) -> bool:
    """Whether it is measured only where it is asked for: a variant, or another maker's runtime, to compare with."""
    return _runtime(backend).peer


def unfit(backend: str) -> str | None:
    """Why this machine cannot run anything on the backend, or None where it can."""
    return _runtime(backend).unfit(None)


def title_of(backend: str) -> str:
    """The name of a backend for people, as in "ONNX Runtime"."""
    return _runtime(backend).title


def precisions_of(backend: str) -> tuple[Precision, ...]:
    """The precisions that a backend runs, its preferred one first."""
    return _runtime(backend).precisions


def open_backend(bundle: Bundle, backend: str, precision: Precision, threads: int | None = None) -> Backend:
    """Opens `backend` on the bundle's artifact of `precision`.

    Raises:
        UsageError: the backend does not know this precision.
        DeployError: the bundle lacks the artifact, or it is stale or damaged.
        MachineError: this machine cannot run it.
    """
    runtime = _runtime(backend)
    if precision not in runtime.precisions:
        known = ", ".join(runtime.precisions)
        raise UsageError(f"{runtime.title} does not run {precision} here: expected one of {known}")
    found = examine(bundle, backend, precision)
    if isinstance(found.obstacle, MachineError):
        raise MachineError(f"{runtime.title} cannot run {precision}: {found.obstacle}")
    if found.obstacle is not None:
        raise found.obstacle
    assert found.artifact is not None
    return runtime.open_backend(bundle, found.artifact, precision, threads)
