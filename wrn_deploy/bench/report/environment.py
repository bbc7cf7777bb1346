"""The environment of a measurement as data, and in sentences what in it makes the numbers doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from wrn_deploy.bench.report.verdicts import TAKEN
from wrn_deploy.formatting import count

__all__ = ["GPU_IDLE", "Environment", "Remark", "Severity", "Sitting", "Snapshot", "find_warnings"]

GPU_IDLE = "GpuIdle"  # NVML's name for a GPU whose clock is low since it has nothing to do
LOAD = 0.25  # of others, a core, the average of a minute
STEAL = 0.02  # fraction of the CPU's time
HELD_S = 0.01  # seconds
CHANGE = 1.1  # the highest clock over the lowest
SLOWED = ("PowerCap", "Slowdown")  # parts of NVML's names for what a GPU does against heat and for want of power


class Severity(StrEnum):
    """How much a remark takes from the numbers: little, some of their precision, or their meaning."""

    NOTE = "note"
    CAUTION = "caution"
    DISTRUST = "do not trust"


@dataclass(frozen=True, slots=True)
class Remark:
    """What disturbed a measurement, in one sentence, and how much that matters."""

    severity: Severity
    text: str


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
        taken: by batch size, the fraction of the cores' time that others and the hypervisor took while it was timed.
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
    taken: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """A part of a measurement that was interrupted: when it began, its rounds by batch size, and its conditions."""

    began: str
    rounds: Mapping[int, int]
    environment: Environment


def find_warnings(found: Environment, cores: int) -> tuple[Remark, ...]:
    """The warnings for a program that may run on `cores` cores; empty: nothing is known to have disturbed it."""
    return *_cpu_time(found, cores), *_cpu_clock(found), *_gpu_clock(found)


def _cpu_time(found: Environment, cores: int) -> Iterator[Remark]:
    on_cores = count(cores, "core")
    if (found.others_before or 0.0) > LOAD * cores:
        load = f"load {found.others_before:.2f} on {on_cores}"
        text = f"The machine was busy before measuring ({load}): expect noisier times."
        yield Remark(Severity.CAUTION if (found.others_before or 0.0) > cores else Severity.NOTE, text)
    if (found.others_cores or 0.0) > TAKEN * cores:
        text = f"Other programs used {found.others_cores:.2f} of {on_cores} while measuring."
        yield Remark(_of_share((found.others_cores or 0.0) / cores), text)
    if found.steal is not None and found.steal > STEAL:
        text = f"The hypervisor gave {100 * found.steal:.1f} % of the CPU's time to other machines while measuring."
        yield Remark(_of_share(found.steal), text)
    if found.cpu_limit is not None and found.cpu_limit < cores:
        text = f"The control group allows {found.cpu_limit:g} cores of CPU time, on {on_cores}: with more threads "
        yield Remark(Severity.CAUTION, f"{text}than that, it stops all of them from time to time.")
    if (found.held_s or 0.0) > HELD_S:
        yield Remark(Severity.CAUTION, f"The control group's limit stopped this program for {found.held_s:.2f} s.")


def _of_share(taken: float) -> Severity:
    """By the fraction of the cores' time that others took; whether times still mean something, verdicts decide."""
    return Severity.CAUTION if taken > TAKEN else Severity.NOTE


def _cpu_clock(found: Environment) -> Iterator[Remark]:
    if "powersave" in (found.before.governor or ""):
        governor = f"The CPU's frequency governor is {found.before.governor}, which may keep its clock low."
        yield Remark(Severity.NOTE, governor)
    yield from _changed("CPU", [state.cpu_mhz for state in found.during])  # before measuring, an idle clock is low
    if found.cpu_throttles:
        times = "once" if found.cpu_throttles == 1 else f"{found.cpu_throttles} times"
        yield Remark(Severity.CAUTION, f"The CPU was throttled {times} while measuring, because it was too hot.")


def _gpu_clock(found: Environment) -> Iterator[Remark]:
    yield from _changed(
        "GPU", [state.gpu_mhz for state in found.during if GPU_IDLE not in (state.throttle_reasons or ())]
    )
    states = [
        [reason for reason in state.throttle_reasons or () if any(part in reason for part in SLOWED)]
        for state in (*found.during, found.after)
    ]
    reasons = dict.fromkeys(reason for state in states for reason in state)
    if reasons:
        slowed = sum(bool(state) for state in states)
        text = f"The GPU's clock was lowered in {slowed} of {len(states)} snapshots: {', '.join(reasons)}."
        yield Remark(Severity.CAUTION, text)


def _changed(processor: str, clocks: Iterable[float | None]) -> Iterator[Remark]:
    known = [clock for clock in clocks if clock]
    if known and max(known) > CHANGE * min(known):
        text = f"The {processor}'s clock was between {min(known):.0f} and {max(known):.0f} MHz while measuring."
        yield Remark(Severity.CAUTION, text)
