"""ONNX Runtime's CUDA provider; how it is run is in `_session.py`."""

from __future__ import annotations

from wrn_deploy.backends._session import SessionRuntime
from wrn_deploy.runtime.sessions import CUDA
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = SessionRuntime(
    title="ONNX Runtime CUDA",
    provider=CUDA,
    graphs={Precision.FP16: "onnx-fp16", Precision.FP32: "onnx-fp32"},
    extra="gpu",
)
