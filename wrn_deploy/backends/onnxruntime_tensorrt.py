"""ONNX Runtime's TensorRT provider, which builds engines itself; how it is run is in `_session.py`."""

from __future__ import annotations

from wrn_deploy.backends._session import SessionRuntime
from wrn_deploy.runtime.sessions import TENSORRT
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = SessionRuntime(
    title="ONNX Runtime TensorRT",
    provider=TENSORRT,
    graphs={Precision.FP16: "onnx-fp16", Precision.INT8: "onnx-int8-tensorrt"},
    extra="gpu",
)
