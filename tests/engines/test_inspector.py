"""Timing an engine's layers: which calls TensorRT and PyCUDA get, and in which order; on stand-ins for both."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.backends.plan.fake_gpu import Allocation, FakeDriver
from tests.engines.test_layers import TENSORRT_11
from wrn_deploy.engines.inspector import LayerTimer
from wrn_deploy.errors import DeployError, MachineError

SHAPES = {"images": (-1, 3, 4, 4), "logits": (-1, 5)}


class Driver(FakeDriver):
    def memcpy_htod(self, target: Allocation, source: bytes) -> None:
        self.check_current()
        assert len(source) == len(target.data)


class Context:
    profiler: Any = None

    def __init__(self, driver: Driver) -> None:
        self.driver, self.batch, self.addresses = driver, 0, dict[str, int]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.batch = shape[0]
        return name == "images" and shape[1:] == (3, 4, 4) and shape[0] <= 8

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.batch, *SHAPES[name][1:])

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, handle: int) -> bool:
        assert handle in self.driver.streams
        assert all(address in self.driver.memory for address in self.addresses.values())
        for name, ms in (("conv1", 0.5), ("pool", 0.25), ("conv1", 0.5)):
            self.profiler.report_layer_time(name, ms)
        return set(self.addresses) == set(SHAPES)


def tensorrt(driver: Driver) -> Any:
    """A module with one engine: images (N, 3, 4, 4), up to 8 at a time, to logits (N, 5)."""

    class Base:
        def __init__(self) -> None:
            """Must be called by those that derive from it."""

    def inspector() -> Any:
        return SimpleNamespace(execution_context=None, get_engine_information=lambda _format: json.dumps(TENSORRT_11))

    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=list(SHAPES).__getitem__,
        get_tensor_mode=lambda name: "IN" if name == "images" else "OUT",
        get_tensor_shape=SHAPES.__getitem__,
        create_execution_context=lambda: Context(driver),
        create_engine_inspector=inspector,
    )
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan == b"plan" else None)
    return SimpleNamespace(
        ILogger=type("ILogger", (Base,), {}),
        IProfiler=type("IProfiler", (Base,), {}),
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
        Runtime=lambda _logger: runtime,
        TensorIOMode=SimpleNamespace(INPUT="IN"),
    )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def test_each_run_has_its_layers_added_up(driver: Driver) -> None:
    with LayerTimer(tensorrt(driver), b"plan", 4) as timer:
        total, layers = timer.run()
        assert layers == {"conv1": 1.0, "pool": 0.25}
        assert timer.run()[1] == layers  # not added to the last run's
        assert total > 0
        assert json.loads(timer.description) == TENSORRT_11
        assert sorted(len(memory.data) for memory in driver.memory.values()) == [4 * 5 * 8, 4 * 48 * 8]
    assert driver.memory == {}
    assert driver.stack == []


def test_a_batch_outside_of_the_profiles(driver: Driver) -> None:
    with pytest.raises(DeployError, match="has no batch of 9: pass a --batch within its profiles"):
        LayerTimer(tensorrt(driver), b"plan", 9)
    assert driver.stack == []


def test_a_plan_that_cannot_be_opened(driver: Driver) -> None:
    with pytest.raises(DeployError, match="cannot be opened on this GPU"):
        LayerTimer(tensorrt(driver), b"other", 1)
    assert driver.stack == []


def test_without_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MachineError, match=r"timing layers needs PyCUDA .*pip install 'wrn-deploy\[gpu\]'"):
        LayerTimer(SimpleNamespace(), b"plan", 1)
