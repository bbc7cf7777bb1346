"""What surrounded a measurement and may have disturbed it, as data; reading it from the machine is done elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Conditions", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The machine at one moment; None: not known, or there is no such thing here.

    Args:
        load_1min: processes that wanted a core, the average of one minute.
        governor: the CPU's frequency governor.
        cpu_mhz: the mean clock of the CPU's cores.
        gpu_mhz: the clock of the GPU's processors.
        gpu_memory_mhz: the clock of its memory.
        temperature_c: of the GPU, in degrees Celsius.
        power_w: what the GPU draws.
        throttle_reasons: why the GPU's clock is held down; empty: it is not.
    """

    load_1min: float | None = None
    governor: str | None = None
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    gpu_memory_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """The machine before and after measuring, and what makes the numbers doubtful, in sentences.

    `energy_j` is what the GPU used in between; `git_revision` that of the program, with "+" where it was changed.
    """

    before: Snapshot
    after: Snapshot
    energy_j: float | None = None
    git_revision: str | None = None
    warnings: tuple[str, ...] = ()
