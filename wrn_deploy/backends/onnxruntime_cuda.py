"""ONNX Runtime's CUDA provider; how it is run is in `_session.py`."""

from __future__ import annotations

from wrn_deploy.backends._session import SessionRuntime
from wrn_deploy.sessions import CUDA
from wrn_deploy.spec import Precision

__all__ = ["PEER", "PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "ONNX Runtime CUDA"
PEER = False

_RUNTIME = SessionRuntime(
    title=TITLE,
    provider=CUDA,
    graphs={Precision.FP16: "onnx-fp16", Precision.FP32: "onnx-fp32"},
    extra="gpu",
)

PRECISIONS = _RUNTIME.precisions
find_artifact = _RUNTIME.find_artifact
unfit = _RUNTIME.unfit
open_backend = _RUNTIME.open_backend
