"""Asks NVML how the GPU is doing: clocks, temperature, power, energy; needs nvidia-ml-py, imported when asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["GpuReader", "GpuState", "open_gpu"]

PREFIXES = ("nvmlClocksEventReason", "nvmlClocksThrottleReason")  # the second is the older name of the same


@dataclass(frozen=True, slots=True)
class GpuState:
    """The GPU at one moment, as in `Snapshot`."""

    mhz: float | None = None
    memory_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] | None = None


class GpuReader:
    """One GPU; what it does not tell (a part of a GPU, an older driver) is None."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def read(self) -> GpuState:
        """How it is now."""
        nvml, handle = self._nvml, self._handle
        power = self._asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle))  # in mW
        return GpuState(
            self._asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            self._asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            self._asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            None if power is None else power / 1000,
            self._reasons(),
        )

    def energy_j(self) -> float | None:
        """What it has used since its driver was loaded."""
        used = self._asked(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))  # in mJ
        return None if used is None else used / 1000

    def close(self) -> None:
        """Ends the use of NVML."""
        self._asked(lambda: self._nvml.nvmlShutdown() or 0)

    def _reasons(self) -> tuple[str, ...] | None:
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            mask = self._asked(partial(self._call, name))
            if mask is not None:
                return tuple(said for bit, said in self._bits().items() if int(mask) & bit)
        return None

    def _call(self, name: str) -> Any:
        return getattr(self._nvml, name)(self._handle)

    def _bits(self) -> dict[int, str]:
        """NVML's own names of the single reasons, the first where a reason has several."""
        names: dict[int, str] = {}
        for name, value in vars(self._nvml).items():
            prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
            if prefix is not None and isinstance(value, int) and value.bit_count() == 1:
                names.setdefault(value, name.removeprefix(prefix))
        return dict(sorted(names.items()))

    def _asked(self, question: Callable[[], Any]) -> float | None:
        try:
            return float(question())
        except (self._nvml.NVMLError, AttributeError):  # older versions of nvidia-ml-py lack some questions
            return None


def open_gpu() -> GpuReader | None:
    """The first GPU that CUDA shows to this process, as `machine.find_gpu`; None: no GPU, driver or nvidia-ml-py."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first in ("", "-1"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        if first.startswith(("GPU-", "MIG-")):
            return GpuReader(pynvml, pynvml.nvmlDeviceGetHandleByUUID(first))
        return GpuReader(pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdecimal() else 0))
    except pynvml.NVMLError:
        pynvml.nvmlShutdown()
        return None
