"""A model that a Triton server runs, as a backend to measure: a run is the client's round trip; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.manifest import Artifact
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.serving.client import NUMPY, Client
from wrn_deploy.serving.config import parameter_of
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["ServedBackend", "ServedModelRuntime", "find_served"]

TYPES: Mapping[str, str] = {f"TYPE_{name}": kind for name, kind in NUMPY.items()}  # Triton's in configurations


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModelRuntime:
    """A served model of a bundle; see `backend.Runtime`.

    Args:
        url: the server's HTTP address.
        model: the model's name there.
        key: the artifact that it runs.
        precision: that of the artifact.
        input: what it takes.
        outputs: what it gives.
        max_batch: the largest batch.
    """

    url: str
    model: str
    key: str
    precision: Precision
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_batch: int

    comparison_only = True
    title = "Triton (client round trip)"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The one that it runs."""
        return (self.precision,)

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The artifact in the bundle that the server runs."""
        del precision  # its own
        return bundle.find(self.key)

    def unfit(self, _artifact: Artifact | None) -> str | None:
        """None: the server runs it."""
        return None

    def open_backend(
        self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None
    ) -> ServedBackend:
        """Connects to the server."""
        del bundle, artifact, precision, threads  # the server's own
        return ServedBackend(self)


class ServedBackend(Backend):
    """A connection to a served model; see `backend.Backend`. `execute` sends the images and receives the outputs."""

    def __init__(self, runtime: ServedModelRuntime) -> None:
        self.inputs, self.outputs = (runtime.input,), runtime.outputs
        self.batches = range(1, runtime.max_batch + 1)
        self._runtime = runtime
        self._client: Client | None = Client(runtime.url)
        self._kind = next(name for name, kind in NUMPY.items() if kind == runtime.input.dtype)
        self._batch: Array | None = None
        self._found: dict[str, Array] = {}

    def upload(self, batch: Array) -> None:
        """Takes a copy of the batch; as `Backend.upload`."""
        self._open()
        if len(batch) not in self.batches:
            raise DeployError(f"a batch of {len(batch)}: expected 1 to {self.batches[-1]}, the server's largest")
        self._batch, self._found = np.array(batch), {}

    def execute(self) -> None:
        """Asks the server and waits for its answer."""
        client = self._open()
        if self._batch is None:
            raise DeployError("there is no batch to run: upload one first")
        self._found = client.infer(self._runtime.model, self.inputs[0].name, self._kind, self._batch)

    def synchronize(self) -> None:
        """The answer is there when `execute` returns."""
        self._open()

    def elapsed_ms(self) -> float | None:
        """The server's clock is not asked."""
        self._open()
        return None

    def download(self) -> tuple[Array, ...]:
        """The outputs of the last answer."""
        self._open()
        return tuple(self._found[output.name].copy() for output in self.outputs) if self._found else ()

    def sibling(self) -> Self:
        """Another connection."""
        self._open()
        return type(self)(self._runtime)

    def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._batch = None

    def _open(self) -> Client:
        if self._client is None:
            raise DeployError("this backend is closed: open it again")
        return self._client


def find_served(bundle: Bundle, url: str) -> tuple[ServedModelRuntime, ...]:
    """The models of a server that run an artifact of the bundle, by the sha256 in their configurations.

    Raises:
        UsageError: the address is not one.
        DeployError: nobody answers there; no model runs an artifact of the bundle, or two do at the same precision.
    """
    artifacts = {artifact.sha256: artifact for artifact in bundle.artifacts.values()}
    found: dict[Precision, ServedModelRuntime] = {}
    with Client(url) as client:
        names = sorted({entry["name"] for entry in client.post("/v2/repository/index", {"ready": True})})
        for name in names:
            config = client.get(f"/v2/models/{name}/config")
            artifact = artifacts.get(parameter_of(config, "sha256") or "")
            if artifact is None:
                continue
            precision = Precision(parameter_of(config, "precision") or artifact.precision)
            if precision in found:
                raise DeployError(
                    f"{url} serves {precision} as {found[precision].model} and as {name}: expected one model of each "
                    "precision; unload the other"
                )
            found[precision] = ServedModelRuntime(
                url=url,
                model=name,
                key=artifact.key,
                precision=precision,
                input=_tensor(config["input"][0]),
                outputs=tuple(map(_tensor, config["output"])),
                max_batch=config["max_batch_size"],
            )
    if not found:
        raise DeployError(
            f"{url} serves {', '.join(names) or 'no model'}, none of an artifact in {bundle.folder}: serve it with "
            f"`wrn-deploy serve {bundle.folder}`"
        )
    return tuple(found.values())


def _tensor(entry: Mapping[str, object]) -> TensorSpec:
    dims = entry["dims"]
    assert isinstance(dims, list)
    return TensorSpec(str(entry["name"]), TYPES[str(entry["data_type"])], tuple(map(int, dims)))
