"""Bundles with plans that only look like some: what the steps that serve read is in the manifest."""

from __future__ import annotations

from typing import Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.spec import Precision

__all__ = ["add_plan"]


def add_plan(
    bundle: Bundle,
    *,
    flavor: str = "tensorrt",
    version: str = "11.1.0.106",
    profiles: tuple[tuple[int, int, int], ...] = ((1, 8, 32),),
    **facts: Any,
) -> Artifact:
    """Adds an fp16 plan that takes pixels."""
    names = ("minimum", "optimum", "maximum")
    described = {
        "flavor": flavor,
        "version": version,
        "profiles": [dict(zip(names, profile, strict=True)) for profile in profiles],
        "inputs": [{"name": "images", "dtype": "uint8", "shape": [32, 32, 3]}],
        **facts,
    }
    graph = bundle.artifacts["onnx-fp32"]
    path = f"fp16-{flavor}.plan"
    with bundle.transaction() as step:
        step.file(path).write_bytes(b"ftrt" + bytes(100))
        return step.add(
            f"plan-fp16-{flavor}",
            kind=Kind.PLAN,
            precision=Precision.FP16,
            path=path,
            recipe=Recipe(parents={graph.key: graph.sha256}),
            facts=described,
        )
