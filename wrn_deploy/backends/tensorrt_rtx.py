"""Plans of TensorRT-RTX; how a plan is run is in `plan`."""

from __future__ import annotations

from wrn_deploy.backends.plan.backend import PlanRuntime

__all__ = ["RUNTIME"]

RUNTIME = PlanRuntime(flavor="tensorrt_rtx", title="TensorRT-RTX", extra="rtx")
