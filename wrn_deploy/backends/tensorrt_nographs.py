"""Plans of TensorRT without CUDA graphs, for comparison; how a plan is run is in `_plan.py`."""

from __future__ import annotations

from wrn_deploy.backends._plan import PlanRuntime

__all__ = ["RUNTIME"]

RUNTIME = PlanRuntime(flavor="tensorrt", title="TensorRT without graphs", extra="gpu", graphs=False, peer=True)
