"""Describes in sentences, with the figure, what in a measurement's environment makes its numbers doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wrn_deploy.bench.report.environment import GPU_IDLE, Environment
from wrn_deploy.formatting import count

__all__ = ["find_warnings"]

LOAD = 0.25  # of others, a core, the average of a minute
TAKEN = 0.1  # of the cores' time, by others
STEAL = 0.02  # fraction of the CPU's time
HELD_S = 0.01  # seconds
CHANGE = 1.1  # the highest clock over the lowest
SLOWED = ("PowerCap", "Slowdown")  # parts of NVML's names for what a GPU does against heat and for want of power


def find_warnings(found: Environment, cores: int) -> tuple[str, ...]:
    """The warnings for a program that may run on `cores` cores; empty: nothing is known to have disturbed it."""
    return *_cpu_time(found, cores), *_cpu_clock(found), *_gpu_clock(found)


def _cpu_time(found: Environment, cores: int) -> Iterator[str]:
    on_cores = count(cores, "core")
    if (found.others_before or 0.0) > LOAD * cores:
        yield f"Other programs kept the machine busy before measuring: load {found.others_before:.2f} on {on_cores}."
    if (found.others_cores or 0.0) > TAKEN * cores:
        yield f"Other programs took {found.others_cores:.2f} of {on_cores} while measuring."
    if found.steal is not None and found.steal > STEAL:
        yield f"The hypervisor gave {100 * found.steal:.1f} % of the CPU's time to other machines while measuring."
    if found.cpu_limit is not None and found.cpu_limit < cores:
        yield (
            f"The control group allows {found.cpu_limit:g} cores' worth of time, on {on_cores}: with more threads than "
            "that, all are stopped now and then."
        )
    if (found.held_s or 0.0) > HELD_S:
        yield f"The control group's limit stopped this program for {found.held_s:.2f} s."


def _cpu_clock(found: Environment) -> Iterator[str]:
    if "powersave" in (found.before.governor or ""):
        yield f"The CPU's frequency governor is {found.before.governor}, which may keep its clock low."
    yield from _changed("CPU", [state.cpu_mhz for state in found.during])  # before measuring, an idle clock is low
    if found.cpu_throttles:
        times = "once" if found.cpu_throttles == 1 else f"{found.cpu_throttles} times"
        yield f"The CPU was throttled {times} while measuring, since it was too hot."


def _gpu_clock(found: Environment) -> Iterator[str]:
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
        yield f"The GPU's clock was held down in {slowed} of {len(states)} looks at it: {', '.join(reasons)}."


def _changed(processor: str, clocks: Iterable[float | None]) -> Iterator[str]:
    known = [clock for clock in clocks if clock]
    if known and max(known) > CHANGE * min(known):
        yield f"The {processor}'s clock was between {min(known):.0f} and {max(known):.0f} MHz while measuring."
