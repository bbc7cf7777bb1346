"""The environment of a measurement, and warnings about it, as data; `bench/measuring/` reads it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GPU_IDLE", "Environment", "Snapshot"]

GPU_IDLE = "GpuIdle"  # NVML's name for a GPU whose clock is low since it has nothing to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The machine at one moment; None: not known, or not present here.

    Args:
        load_1min: processes that wanted a core, the average of one minute.
        governor: the CPU's frequency governor.
        cpu_mhz: the clock of the fastest of the CPU's cores.
        gpu_mhz: the clock of the GPU's processors.
        gpu_memory_mhz: the clock of its memory.
        temperature_c: of the GPU, in degrees Celsius.
        power_w: of the GPU.
        throttle_reasons: NVML's names of what lowers the GPU's clock, "GpuIdle" among them; empty: nothing.
        cpu_max_mhz: the maximum clock that the CPU is allowed.
        at_s: seconds since measuring began.
    """

    load_1min: float | None = None
    governor: str | None = None
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    gpu_memory_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    cpu_max_mhz: float | None = None
    at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine before, during and after a measurement, and warnings in sentences.

    Args:
        before: before the first candidate was opened.
        after: after the last one was done.
        energy_j: of the GPU, in between.
        git_revision: of the program's own source tree, by `git describe --always --dirty`.
        warnings: what makes the numbers doubtful.
        during: every few seconds in between, while nothing was timed.
        cpu_limit: cores' worth of time that the control group allows; None: no limit.
        others_before: the load before measuring, without this program's own.
        others_cores: cores' worth of time that other programs took in between.
        steal: the fraction of the CPU's time that the hypervisor gave to other machines, 0..1.
        held_s: seconds for which the control group's limit stopped this program.
        cpu_throttles: how often the CPU's cores were too hot for their clock.
    """

    before: Snapshot
    after: Snapshot
    energy_j: float | None = None
    git_revision: str | None = None
    warnings: tuple[str, ...] = ()
    during: tuple[Snapshot, ...] = ()
    cpu_limit: float | None = None
    others_before: float | None = None
    others_cores: float | None = None
    steal: float | None = None
    held_s: float | None = None
    cpu_throttles: int | None = None
