"""Describing an engine and timing its layers: which calls TensorRT and PyCUDA get, in which order; on stand-ins."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.backends.plan.fake_gpu import Allocation, FakeDriver
from tests.engines.test_layers import TENSORRT_11
from wrn_deploy.engines.inspector import LayerTimer, describe_engine
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime import gpu

SHAPES = {"images": (-1, 3, 4, 4), "logits": (-1, 5)}
PROFILES = ((1, 1, 1), (2, 6, 8))


class Driver(FakeDriver):
    def memcpy_htod(self, target: Allocation, source: bytes) -> None:
        self.check_current()
        assert len(source) == len(target.data)


class Context:
    profiler: Any = None

    def __init__(self, driver: Driver) -> None:
        self.driver, self.batch, self.addresses = driver, 0, dict[str, int]()
        self.profile: int | None = None

    def set_optimization_profile_async(self, profile: int, handle: int) -> bool:
        assert handle == 0 or handle in self.driver.streams
        self.profile, self.batch = profile, 0
        return profile < len(PROFILES)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.profile is not None, "the profile comes before the shape"
        least, _, most = PROFILES[self.profile]
        self.batch = shape[0]
        return name == "images" and shape[1:] == (3, 4, 4) and least <= shape[0] <= most

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
    """A module with one engine: images (N, 3, 4, 4) to logits (N, 5), one image or 2 to 8 at a time."""

    class Base:
        def __init__(self) -> None:
            """Must be called by those that derive from it."""

    class Inspector:
        execution_context: Any = None

        def get_engine_information(self, _format: str) -> str:
            set_to = self.execution_context
            return json.dumps({**TENSORRT_11, "of": [set_to.profile, set_to.batch]})

    engine = SimpleNamespace(
        num_io_tensors=2,
        num_optimization_profiles=len(PROFILES),
        get_tensor_profile_shape=lambda name, index: [(batch, *SHAPES[name][1:]) for batch in PROFILES[index]],
        get_tensor_name=list(SHAPES).__getitem__,
        get_tensor_mode=lambda name: "IN" if name == "images" else "OUT",
        get_tensor_shape=SHAPES.__getitem__,
        create_execution_context=lambda: Context(driver),
        create_engine_inspector=Inspector,
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
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver = Driver()
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    gpu._primary_context.cache_clear()
    yield driver
    gpu._primary_context.cache_clear()


def test_each_run_has_its_layers_added_up(driver: Driver) -> None:
    with LayerTimer(tensorrt(driver), b"plan", 4) as timer:
        total, layers = timer.run()
        assert layers == {"conv1": 1.0, "pool": 0.25}
        assert timer.run()[1] == layers  # not added to the last run's
        assert total > 0
        assert json.loads(timer.description) == {**TENSORRT_11, "of": [1, 4]}
        assert sorted(len(memory.data) for memory in driver.memory.values()) == [4 * 5 * 8, 4 * 48 * 8]
    assert driver.memory == {}
    assert driver.stack == []


def test_every_profile_is_timed_and_described(driver: Driver) -> None:
    for batch, profile in ((1, 0), (2, 1), (8, 1)):
        with LayerTimer(tensorrt(driver), b"plan", batch) as timer:
            assert json.loads(timer.description)["of"] == [profile, batch]
            assert timer.run()[1] == {"conv1": 1.0, "pool": 0.25}
    assert [json.loads(text)["of"] for text in describe_engine(tensorrt(driver), b"plan")] == [[0, 1], [1, 6]]
    assert (driver.memory, driver.stack) == ({}, [])


def test_two_timers_share_the_primary_context_and_leave_the_threads_own_current(driver: Driver) -> None:
    theirs = object()
    driver.stack.append(theirs)
    with LayerTimer(tensorrt(driver), b"plan", 1) as first, LayerTimer(tensorrt(driver), b"plan", 4) as second:
        first.run()
        second.run()
        assert driver.stack == [theirs]
    assert driver.stack == [theirs]
    assert driver.log.count("retain") == 1
    assert not [line for line in driver.log if line.startswith("leaked")]


def test_a_batch_outside_of_the_profiles(driver: Driver) -> None:
    with pytest.raises(DeployError, match=r"batch of 9 is outside the plan's profiles \(1 to 1, 2 to 8\)"):
        LayerTimer(tensorrt(driver), b"plan", 9)
    assert (driver.memory, driver.stack) == ({}, [])


def test_a_plan_that_cannot_be_opened(driver: Driver) -> None:
    with pytest.raises(DeployError, match="cannot be opened on this GPU"):
        LayerTimer(tensorrt(driver), b"other", 1)
    assert driver.stack == []


def test_without_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    gpu._primary_context.cache_clear()
    with pytest.raises(MachineError, match=r"PyCUDA cannot be loaded .*pip install 'pycuda>"):
        LayerTimer(SimpleNamespace(), b"plan", 1)
