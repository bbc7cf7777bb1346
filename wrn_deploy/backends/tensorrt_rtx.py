"""Plans of TensorRT-RTX; how a plan is run is in `_plan.py`."""

from __future__ import annotations

from wrn_deploy.backends._plan import PlanRuntime

__all__ = ["PEER", "PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "TensorRT-RTX"
PEER = False

_RUNTIME = PlanRuntime(flavor="tensorrt_rtx", title=TITLE, extra="rtx")

PRECISIONS = _RUNTIME.PRECISIONS
find_artifact = _RUNTIME.find_artifact
unfit = _RUNTIME.unfit
open_backend = _RUNTIME.open_backend
