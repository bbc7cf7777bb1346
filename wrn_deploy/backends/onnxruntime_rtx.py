"""ONNX Runtime's TensorRT-RTX provider, a plug-in that builds engines itself; how it is run is in `_session.py`."""

from __future__ import annotations

from wrn_deploy.backends._session import SessionRuntime
from wrn_deploy.runtime.sessions import RTX
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = SessionRuntime(
    title="ONNX Runtime TensorRT-RTX",
    provider=RTX,
    graphs={Precision.FP16: "onnx-fp16", Precision.INT8: "onnx-int8-tensorrt"},
    extra="ort-rtx",
)
