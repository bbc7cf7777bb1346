"""ONNX Runtime's CPU provider: the fp32 graph and the int8 graph written for it; how it is run is in `_session.py`."""

from __future__ import annotations

from wrn_deploy.backends._session import SessionRuntime
from wrn_deploy.runtime.sessions import CPU
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = SessionRuntime(
    title="ONNX Runtime CPU",
    provider=CPU,
    graphs={Precision.FP32: "onnx-fp32", Precision.INT8: "onnx-int8-onnxruntime"},
    extra="cpu",
)
