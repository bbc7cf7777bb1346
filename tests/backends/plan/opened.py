"""Opens the fake TensorRT's plan and runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.backends.plan.fake_tensorrt import DTYPES, FakeTensorRT
from wrn_deploy.backends.plan.backend import PlanBackend
from wrn_deploy.backends.plan.engine import Expected, SharedEngine
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.spec import TensorSpec

__all__ = ["expected", "opened", "run", "some_images"]


def expected(trt: FakeTensorRT) -> Expected:
    """What a bundle says whose plan this is."""
    specs = [TensorSpec(tensor.name, DTYPES[tensor.dtype], tensor.shape) for tensor in trt.tensors]
    profiles = [dict(zip(("minimum", "optimum", "maximum"), each, strict=True)) for each in trt.profiles]
    return Expected(
        source=specs[0], results=tuple(specs[1:]), facts={"inputs": [{"name": "images"}], "profiles": profiles}
    )


def opened(
    trt: FakeTensorRT, given: Expected | None = None, plan: bytes = b"plan", *, graphs: bool = True
) -> PlanBackend:
    with on_gpu():
        engine = SharedEngine(trt, plan, given or expected(trt))
    return PlanBackend(engine, graphs=graphs)


def some_images(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3, 4, 4)).astype(np.float32)


def run(backend: PlanBackend, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
    backend.upload(batch)
    backend.execute()
    backend.synchronize()
    return backend.download()[0]
