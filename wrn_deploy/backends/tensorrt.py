"""TensorRT and TensorRT-RTX, with and without CUDA graphs; `plan/` runs the plan."""

from __future__ import annotations

from wrn_deploy.backends.plan.backend import PlanRuntime

__all__ = ["RUNTIMES"]

RUNTIMES = {
    "tensorrt": PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu"),
    "tensorrt_nographs": PlanRuntime(
        flavor="tensorrt", title="TensorRT without graphs", extra="gpu", graphs=False, comparison_only=True
    ),
    "tensorrt_rtx": PlanRuntime(flavor="tensorrt_rtx", title="TensorRT-RTX", extra="rtx"),
    "tensorrt_rtx_nographs": PlanRuntime(
        flavor="tensorrt_rtx", title="TensorRT-RTX without graphs", extra="rtx", graphs=False, comparison_only=True
    ),
}
