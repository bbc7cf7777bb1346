"""Reads the GPU's clocks, temperature, power and energy through NVML; imports nvidia-ml-py only to open a GPU."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from wrn_deploy.bench.report.environment import Snapshot
from wrn_deploy.machine import find_bus_id

__all__ = ["GpuReader", "open_gpu"]

PREFIXES = ("nvmlClocksEventReason", "nvmlClocksThrottleReason")  # the second is the older name of the same


class GpuReader:
    """One GPU; what it does not report (a part of a GPU, an older driver) is None."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def read(self, snapshot: Snapshot) -> Snapshot:
        """Returns the snapshot with the GPU's state."""
        power_mw = self._ask("GetPowerUsage")
        return replace(
            snapshot,
            gpu_mhz=self._ask("GetClockInfo", self._nvml.NVML_CLOCK_SM),
            gpu_memory_mhz=self._ask("GetClockInfo", self._nvml.NVML_CLOCK_MEM),
            temperature_c=self._ask("GetTemperature", self._nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power_mw is None else power_mw / 1000,
            throttle_reasons=self._reasons(),
        )

    def energy_j(self) -> float | None:
        """Returns the energy used since the driver was loaded."""
        used_mj = self._ask("GetTotalEnergyConsumption")
        return None if used_mj is None else used_mj / 1000

    def close(self) -> None:
        """Ends the use of NVML."""
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _reasons(self) -> tuple[str, ...] | None:
        mask = self._ask("GetCurrentClocksEventReasons")
        if mask is None:
            mask = self._ask("GetCurrentClocksThrottleReasons")
        return None if mask is None else tuple(name for bit, name in self._bits().items() if int(mask) & bit)

    def _bits(self) -> dict[int, str]:
        """NVML's own names of the single reasons; the first if a reason has several."""
        names: dict[int, str] = {}
        for name, value in vars(self._nvml).items():
            prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
            if prefix is not None and isinstance(value, int) and value.bit_count() == 1:
                names.setdefault(value, name.removeprefix(prefix))
        return dict(sorted(names.items()))

    def _ask(self, question: str, *arguments: int) -> float | None:
        try:
            return float(getattr(self._nvml, f"nvmlDevice{question}")(self._handle, *arguments))
        except (self._nvml.NVMLError, AttributeError):  # older versions of nvidia-ml-py lack some questions
            return None


def open_gpu() -> GpuReader | None:
    """Opens CUDA's first GPU in this process, as `find_gpu`; None: no GPU, driver or nvidia-ml-py."""
    try:
        import pynvml
    except ImportError:
        return None
    bus_id = find_bus_id()
    if bus_id is None:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return GpuReader(pynvml, pynvml.nvmlDeviceGetHandleByPciBusId(bus_id))
    except pynvml.NVMLError:
        pynvml.nvmlShutdown()
        return None
