"""Runs a bundle: the Backend protocol, how one is opened, and the Runner for services; numpy only."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.plugins import load_plugin, plugin_names
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["Backend", "Candidate", "Runner", "contenders", "examine", "open_backend", "title_of"]

BACKENDS = "wrn_deploy.backends"


class Backend(Protocol):
    """One opened artifact, ready to run. It never times itself: `bench/latency.py` holds the only clock.

    `batches` are the sizes of batch that it takes. `execute` may return before the device is done; `synchronize` waits
    for it. Not for several threads at once. After `close`, every other method raises DeployError.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: range

    def upload(self, batch: npt.NDArray[np.float32]) -> None:
        """Takes the next input, (N, *inputs[0].shape); the array may be reused once this returns.

        Raises:
            DeployError: N is none of `batches`.
        """

    def execute(self) -> None:
        """Starts one inference on what was uploaded; may be called again and again."""

    def synchronize(self) -> None:
        """Waits until every started inference is done."""

    def download(self) -> npt.NDArray[np.float32]:
        """The output of the last inference, (N, *outputs[0].shape); the caller owns it."""

    def close(self) -> None:
        """Gives all memory back; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BackendModule(Protocol):
    """What a file in `wrn_deploy/backends` offers."""

    TITLE: str
    PRECISIONS: tuple[Precision, ...]

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The artifact it would run; raises DeployError where the bundle has none (and says what makes it)."""

    def unfit(self, artifact: Artifact | None) -> str | None:
        """Why this machine cannot run the artifact (None: any artifact), or None where it can."""

    def open_backend(self, bundle: Bundle, artifact: Artifact, threads: int | None) -> Backend:
        """Opens it; `threads` CPU threads (None: the library's own choice)."""


def _module(backend: str) -> BackendModule:
    return cast("BackendModule", load_plugin(BACKENDS, backend))


def contenders() -> list[tuple[str, Precision]]:
    """Every backend at every precision that it knows, whether or not this machine can run it."""
    return [(name, precision) for name in plugin_names(BACKENDS) for precision in _module(name).PRECISIONS]


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
    module = _module(backend)
    artifact: Artifact | None = None
    lacking: DeployError | None = None
    try:
        artifact = module.find_artifact(bundle, precision)
    except DeployError as error:
        lacking = error
    reason = module.unfit(artifact)  # a missing package says more than the plan that cannot be there
    return Candidate(artifact, lacking if reason is None else MachineError(reason))


def title_of(backend: str) -> str:
    """The name of a backend for people, as in "ONNX Runtime"."""
    return _module(backend).TITLE


def open_backend(bundle: Bundle, backend: str, precision: Precision, threads: int | None = None) -> Backend:
    """Opens `backend` on the bundle's artifact of `precision`.

    Raises:
        UsageError: the backend does not know this precision.
        DeployError: the bundle lacks the artifact, or it is stale or damaged.
        MachineError: this machine cannot run it.
    """
    module = _module(backend)
    if precision not in module.PRECISIONS:
        known = ", ".join(module.PRECISIONS)
        raise UsageError(f"{module.TITLE} does not run {precision} here: expected one of {known}")
    found = examine(bundle, backend, precision)
    if isinstance(found.obstacle, MachineError):
        raise MachineError(f"{module.TITLE} cannot run {precision}: {found.obstacle}")
    if found.obstacle is not None:
        raise found.obstacle
    assert found.artifact is not None
    return module.open_backend(bundle, found.artifact, threads)


# What `Runner.open` takes when it is not told: the first that this machine can run and the bundle has.
PREFERRED = (
    ("tensorrt", Precision.FP16),
    ("tensorrt_rtx", Precision.FP16),
    ("onnxruntime", Precision.FP32),
)


class Runner:
    """A bundle, opened for inference on one backend at one precision; a context manager.

    `backend` and `precision` say which was opened: where they were not named it is the first of PREFERRED that is valid
    here, and never another than the one that was named. Calls from several threads are served one after another.
    """

    def __init__(self, bundle: Bundle, backend: str, precision: Precision, opened: Backend) -> None:
        self.bundle = bundle
        self.backend = backend
        self.precision = precision
        self._opened = opened
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: Path | str,
        precision: Precision | str | None = None,
        backend: str | None = None,
        threads: int | None = None,
    ) -> Self:
        """Opens the bundle in `folder`.

        Args:
            folder: the bundle.
            precision: "fp32", "fp16" or "int8"; None: the backend's preferred one.
            backend: a file of `wrn_deploy/backends`, as in "onnxruntime"; None: the first that is valid here.
            threads: CPU threads (None: the library's own choice).

        Raises:
            DeployError: no bundle, or what was asked for is not in it, stale or damaged.
            MachineError: this machine cannot run it.
            UsageError: the backend does not know the precision.
        """
        bundle = Bundle.open(folder)
        name, wanted = _choose(bundle, backend, _precision(precision))
        return cls(bundle, name, wanted, open_backend(bundle, name, wanted, threads))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits; empty where they have none."""
        return self.bundle.spec.labels

    def predict(self, images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits of a batch.

        Args:
            images: uint8 (N, H, W, 3), RGB, at the network's size; or float32 (N, 3, H, W), normalised already.

        Returns:
            float32 (N, classes), owned by the caller.

        Raises:
            DeployError: another shape or dtype, an empty batch, or a closed runner.
        """
        batch = self._checked(np.asarray(images))
        with self._lock:
            if self._closed:
                raise DeployError("this runner is closed: open the bundle again")
            self._opened.upload(batch)
            self._opened.execute()
            self._opened.synchronize()
            return self._opened.download()

    def close(self) -> None:
        """Gives all memory back; may be called twice."""
        with self._lock:
            self._closed = True
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        how, shape = self.bundle.spec.preprocessing, self.bundle.spec.input.shape
        if images.ndim == 4 and len(images) > 0:
            if images.dtype == np.uint8 and images.shape[1:] == (how.height, how.width, 3):
                return normalize(images.astype(np.uint8, copy=False), how)
            if images.dtype == np.float32 and images.shape[1:] == shape:
                return np.ascontiguousarray(images, dtype=np.float32)
        raise DeployError(
            f"images are {images.dtype} {images.shape}: expected uint8 (N, {how.height}, {how.width}, 3), RGB, or "
            f"normalised float32 (N, {', '.join(map(str, shape))}), N at least 1"
        )


def _precision(name: Precision | str | None) -> Precision | None:
    if name is None:
        return None
    try:
        return Precision(name)
    except ValueError as error:
        raise UsageError(f"precision {name!r}: expected one of {', '.join(Precision)}") from error


def _choose(bundle: Bundle, backend: str | None, precision: Precision | None) -> tuple[str, Precision]:
    """The contender to open; where neither is named, the first preferred one that can run."""
    if backend is not None and precision is not None:
        return backend, precision
    fitting = [
        (name, precision or preferred)
        for name, preferred in PREFERRED
        if backend in (None, name) and (precision is None or precision in _module(name).PRECISIONS)
    ]
    if backend is not None:
        return fitting[0] if fitting else (backend, _module(backend).PRECISIONS[0])
    reasons = {}
    for name, wanted in fitting:
        obstacle = examine(bundle, name, wanted).obstacle
        if obstacle is None:
            return name, wanted
        reasons[f"{_module(name).TITLE} {wanted}"] = str(obstacle)
    tried = "; ".join(f"{title}: {reason}" for title, reason in reasons.items())
    raise MachineError(f"nothing here can run {bundle.folder}: {tried}")
