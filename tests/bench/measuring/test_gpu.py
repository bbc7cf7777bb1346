"""NVML's answers are read by the names it gives; what it refuses is not known."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from wrn_deploy.bench.measuring import gpu as gpu_module
from wrn_deploy.bench.measuring.gpu import open_gpu
from wrn_deploy.bench.report.environment import Snapshot


class FakeError(Exception):
    """Stands for NVMLError."""


def make_nvml(**changes: Any) -> ModuleType:
    """A module with the questions that are asked, and the answers of a GPU at work."""
    nvml = ModuleType("pynvml")
    closed: list[int] = []
    members = {
        "NVMLError": FakeError,
        "NVML_CLOCK_SM": 1, "NVML_CLOCK_MEM": 2, "NVML_TEMPERATURE_GPU": 0,
        "nvmlClocksEventReasonNone": 0, "nvmlClocksEventReasonGpuIdle": 1,
        "nvmlClocksEventReasonApplicationsClocksSetting": 2, "nvmlClocksEventReasonUserDefinedClocks": 2,
        "nvmlClocksEventReasonSwPowerCap": 4, "nvmlClocksEventReasonHwThermalSlowdown": 0x40,
        "nvmlClocksEventReasonAll": 0x47, "nvmlClocksThrottleReasonSwPowerCap": 4,
        "nvmlInit": lambda: None, "nvmlShutdown": lambda: closed.append(1), "closed": closed,
        "nvmlDeviceGetHandleByPciBusId": lambda bus_id: f"at {bus_id}",
        "nvmlDeviceGetClockInfo": lambda _handle, clock: {1: 1755, 2: 3201}[clock],
        "nvmlDeviceGetTemperature": lambda _handle, _sensor: 61,
        "nvmlDeviceGetPowerUsage": lambda _handle: 512_900,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _handle: 48_211_500,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda _handle: 0x44,
    }  # fmt: skip
    for name, value in {**members, **changes}.items():
        setattr(nvml, name, value)
    return nvml


def refuse(*_arguments: object) -> Any:
    raise FakeError("Not Supported")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(gpu_module, "find_bus_id", lambda: "0000:17:00.0")
    made = make_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_a_gpu_at_work_is_read_in_mhz_degrees_watts_and_joules(nvml: Any) -> None:
    gpu = open_gpu()
    assert gpu is not None
    assert gpu.read(Snapshot(load_1min=0.5)) == Snapshot(
        load_1min=0.5, gpu_mhz=1755, gpu_memory_mhz=3201, temperature_c=61, power_w=512.9,
        throttle_reasons=("SwPowerCap", "HwThermalSlowdown"),
    )  # fmt: skip
    assert gpu.energy_j() == 48_211.5
    gpu.close()
    assert nvml.closed == [1]


def test_a_reason_with_two_names_is_reported_once(nvml: Any) -> None:
    nvml.nvmlDeviceGetCurrentClocksEventReasons = lambda _handle: 3
    gpu = open_gpu()
    assert gpu is not None
    assert gpu.read(Snapshot()).throttle_reasons == ("GpuIdle", "ApplicationsClocksSetting")


def test_an_older_driver_is_asked_by_the_older_name(nvml: Any) -> None:
    nvml.nvmlDeviceGetCurrentClocksEventReasons = refuse
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda _handle: 0
    gpu = open_gpu()
    assert gpu is not None
    assert gpu.read(Snapshot()).throttle_reasons == ()


def test_what_is_refused_or_missing_is_not_known(nvml: Any) -> None:
    for name in ("GetPowerUsage", "GetTotalEnergyConsumption", "GetCurrentClocksEventReasons"):
        setattr(nvml, f"nvmlDevice{name}", refuse)
    del nvml.nvmlDeviceGetTemperature
    gpu = open_gpu()
    assert gpu is not None
    assert gpu.read(Snapshot()) == Snapshot(gpu_mhz=1755, gpu_memory_mhz=3201)
    assert gpu.energy_j() is None


def test_the_gpu_is_cudas_first(nvml: Any) -> None:
    asked: list[str] = []
    nvml.nvmlDeviceGetTemperature = lambda given, _sensor: len(asked.append(given) or asked)  # type: ignore[func-returns-value]
    gpu = open_gpu()
    assert gpu is not None
    gpu.read(Snapshot())
    assert asked == ["at 0000:17:00.0"]


def test_a_gpu_that_cuda_hides_is_none(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_module, "find_bus_id", lambda: None)
    assert open_gpu() is None
    assert nvml.closed == []


def test_without_package_driver_or_gpu_there_is_none(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.nvmlDeviceGetHandleByPciBusId = refuse
    assert open_gpu() is None
    assert nvml.closed == [1], "NVML was begun, and is ended"
    nvml.nvmlInit = refuse
    assert open_gpu() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpu() is None


@pytest.mark.gpu
def test_this_machine_s_gpu_is_read() -> None:
    pytest.importorskip("pynvml")
    gpu = open_gpu()
    assert gpu is not None
    state = gpu.read(Snapshot())
    assert state.gpu_mhz is not None
    assert state.gpu_mhz > 0
    assert state.throttle_reasons is not None
    gpu.close()
