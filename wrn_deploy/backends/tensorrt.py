"""Plans of TensorRT; how a plan is run is in `_plan.py`."""

from __future__ import annotations

from wrn_deploy.backends._plan import PlanRuntime

__all__ = ["RUNTIME"]

RUNTIME = PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu")
