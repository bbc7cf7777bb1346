"""ONNX Runtime's CPU provider: the fp32 graph and the int8 graph written for it; how it is run is in `_session.py`."""

from __future__ import annotations

from wrn_deploy.backends._session import SessionRuntime
from wrn_deploy.sessions import CPU
from wrn_deploy.spec import Precision

__all__ = ["PEER", "PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "ONNX Runtime CPU"
PEER = False

_RUNTIME = SessionRuntime(
    title=TITLE,
    provider=CPU,
    graphs={Precision.FP32: "onnx-fp32", Precision.INT8: "onnx-int8-onnxruntime"},
    extra="cpu",
)

PRECISIONS = _RUNTIME.precisions
find_artifact = _RUNTIME.find_artifact
unfit = _RUNTIME.unfit
open_backend = _RUNTIME.open_backend
