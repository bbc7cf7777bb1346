"""Plans of TensorRT; how a plan is run is in `plan`."""

from __future__ import annotations

from wrn_deploy.backends.plan.backend import PlanRuntime

__all__ = ["RUNTIME"]

RUNTIME = PlanRuntime(flavor="tensorrt", title="TensorRT", extra="gpu")
