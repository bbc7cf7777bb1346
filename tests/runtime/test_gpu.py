"""The primary context outlives every holder, and CUDA's failures say whether the process can go on."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.backends.plan.fake_gpu import FakeDriver
from wrn_deploy.errors import MachineError
from wrn_deploy.runtime import gpu
from wrn_deploy.runtime.gpu import cuda_failure, on_gpu


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver()
    package = ModuleType("pycuda")
    package.driver = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    gpu._primary_context.cache_clear()
    yield fake
    gpu._primary_context.cache_clear()


@pytest.mark.usefixtures("driver")
def test_the_primary_context_is_never_freed() -> None:
    """PyCUDA's destructor would call cuCtxDetach, which CUDA does not allow on it."""
    with on_gpu():
        pass
    kept = weakref.ref(gpu._primary_context()[1])
    gpu._primary_context.cache_clear()
    gc.collect()
    assert kept() is not None


def test_the_threads_own_context_is_current_again_after_an_error(driver: FakeDriver) -> None:
    theirs = object()
    driver.stack.append(theirs)
    with on_gpu():
        assert driver.stack[0] is theirs
    driver.failing = "cuMemAlloc failed: out of memory"
    with pytest.raises(MachineError, match="CUDA failed"), on_gpu() as cuda:
        cuda.mem_alloc(1)
    assert driver.stack == [theirs]


# The texts of CUDA 13's runtime for the errors after which "the process must be terminated and relaunched".
@pytest.mark.parametrize(
    "text",
    [
        "an illegal memory access was encountered",
        "an illegal instruction was encountered",
        "misaligned address",
        "operation not supported on global/shared address space",
        "invalid program counter",
        "unspecified launch failure",
        "the launch timed out and was terminated",
        "device-side assert triggered",
        "hardware stack error",
        "uncorrectable ECC error encountered",
        "unknown error",
    ],
)
def test_a_lost_gpu_is_told_from_other_failures(text: str) -> None:
    assert "this process has lost the GPU, start it again" in str(cuda_failure(f"cudaEventRecord failed: {text}"))


@pytest.mark.parametrize("text", ["out of memory", "invalid argument", "invalid device ordinal"])
def test_other_failures_say_what_to_look_at(text: str) -> None:
    assert "free GPU memory" in str(cuda_failure(f"cuMemAlloc failed: {text}"))
