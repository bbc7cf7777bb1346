"""ONNX Runtime's CPU provider: the fp32 graph and the int8 graph written for it; no torch, no onnx."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.sessions import open_session
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "ONNX Runtime CPU"
PRECISIONS = (Precision.FP32, Precision.INT8)


def find_artifact(bundle: Bundle, precision: Precision) -> Artifact:
    """The fp32 graph, or the int8 graph with uint8 activations."""
    if precision is Precision.INT8:
        return bundle.find("onnx-int8-onnxruntime", f"wrn-deploy calibrate {bundle.folder} --calib-data DATA")
    return bundle.find("onnx-fp32", f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}")


def unfit(_artifact: Artifact | None) -> str | None:
    """Needs onnxruntime (either build)."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed: pip install 'wrn-deploy[cpu]'"
    return None


def open_backend(bundle: Bundle, artifact: Artifact, threads: int | None) -> OnnxRuntimeBackend:
    """Loads the graph; the session must run on the provider that was asked for, or it is an error."""
    return OnnxRuntimeBackend(open_session(bundle.file(artifact), threads), bundle.spec.input, bundle.spec.output)


class OnnxRuntimeBackend:
    """A session with bound input and output; see `runner.Backend`."""

    def __init__(self, session: Any, source: TensorSpec, result: TensorSpec) -> None:
        self.inputs, self.outputs = (source,), (result,)
        self.batches = range(1, sys.maxsize)
        self._session = session
        self._binding = session.io_binding()
        self._images: Any = None
        self._logits = np.empty((0, *result.shape), dtype=np.float32)

    def upload(self, batch: npt.NDArray[np.float32]) -> None:
        self._check_open()
        import onnxruntime as ort

        self._images = ort.OrtValue.ortvalue_from_numpy(batch.copy())  # on a CPU it holds on to the array
        self._binding.bind_ortvalue_input(self.inputs[0].name, self._images)
        if len(self._logits) != len(batch):
            self._logits = np.empty((len(batch), *self.outputs[0].shape), dtype=np.float32)
            shape, address = self._logits.shape, self._logits.ctypes.data
            self._binding.bind_output(self.outputs[0].name, "cpu", 0, np.float32, shape, address)

    def execute(self) -> None:
        self._check_open()
        self._session.run_with_iobinding(self._binding)

    def synchronize(self) -> None:
        """The CPU provider is done when `execute` returns."""
        self._check_open()

    def download(self) -> npt.NDArray[np.float32]:
        self._check_open()
        return self._logits.copy()

    def close(self) -> None:
        self._session = self._binding = self._images = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._session is None:
            raise DeployError("this backend is closed: open it again")
