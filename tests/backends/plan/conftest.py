"""The GPU that keeps CUDA's rules and does not exist, in the place of PyCUDA and cuda-bindings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.backends.plan.fake_gpu import FakeDriver, FakeRuntime
from tests.backends.plan.fake_tensorrt import FakeTensorRT
from wrn_deploy.backends.plan import cuda
from wrn_deploy.runtime import gpu


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver()
    package = ModuleType("pycuda")
    package.driver = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):  # not installed, until `runtime` is asked for
        monkeypatch.setitem(sys.modules, name, None)
    gpu._primary_context.cache_clear()
    cuda.cuda_runtime.cache_clear()
    yield fake
    gpu._primary_context.cache_clear()
    cuda.cuda_runtime.cache_clear()
    assert [line for line in fake.log if line.startswith("leaked")] == []


@pytest.fixture
def runtime(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRuntime]:
    """With cuda-bindings."""
    fake = FakeRuntime(driver)
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    bindings.runtime = fake  # type: ignore[attr-defined]
    package.bindings = bindings  # type: ignore[attr-defined]
    for name, module in (("cuda", package), ("cuda.bindings", bindings), ("cuda.bindings.runtime", fake)):
        monkeypatch.setitem(sys.modules, name, module)
    yield fake
    assert fake.events == []


@pytest.fixture
def trt(driver: FakeDriver) -> FakeTensorRT:
    return FakeTensorRT(driver)
