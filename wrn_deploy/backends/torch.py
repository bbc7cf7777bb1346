"""PyTorch eager on a CPU: the network itself, with the bundle's weights; what the other rows are compared with."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any, Self

from wrn_deploy.backend import Array
from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import load_plugin
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "PyTorch CPU"
PRECISIONS = (Precision.FP32,)


def find_artifact(bundle: Bundle, precision: Precision) -> Artifact:
    """The weights."""
    del precision  # there is one
    return bundle.find("weights", f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}")


def unfit(_artifact: Artifact | None) -> str | None:
    """Needs torch."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        return "torch is not installed: pip install 'wrn-deploy[export]'"
    return None


def open_backend(bundle: Bundle, artifact: Artifact, threads: int | None) -> TorchBackend:
    """Builds the network and loads the weights into it."""
    import torch
    from safetensors.torch import load_file

    if threads is not None:
        torch.set_num_threads(threads)
    network = load_plugin("wrn_deploy.models.families", bundle.spec.family).build(bundle.spec)
    network.load_state_dict(load_file(bundle.file(artifact)))
    return TorchBackend(network.eval(), bundle.spec.input, bundle.spec.output)


class TorchBackend:
    """A network in inference mode; see `backend.Backend`."""

    def __init__(self, network: Any, source: TensorSpec, result: TensorSpec) -> None:
        self.inputs, self.outputs = (source,), (result,)
        self.batches = range(1, sys.maxsize)
        self._network = network
        self._images: Any = None
        self._logits: Any = None

    def upload(self, batch: Array) -> None:
        self._check_open()
        import torch

        self._images = torch.from_numpy(batch.copy())

    def execute(self) -> None:
        self._check_open()
        import torch

        with torch.inference_mode():
            self._logits = self._network(self._images)

    def synchronize(self) -> None:
        """Eager on a CPU is done when `execute` returns."""
        self._check_open()

    def download(self) -> tuple[Array, ...]:
        self._check_open()
        return (self._logits.numpy().copy(),)

    def sibling(self) -> Self:
        self._check_open()
        return type(self)(self._network, *self.inputs, *self.outputs)

    def close(self) -> None:
        self._network = self._images = self._logits = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._network is None:
            raise DeployError("this backend is closed: open it again")
