"""Says in sentences, with the figure, what in the conditions of a measurement makes its numbers doubtful."""

from __future__ import annotations

from collections.abc import Iterable

from wrn_deploy.bench.report.environment import Conditions, Snapshot
from wrn_deploy.formatting import count

__all__ = ["doubts"]

LOAD = 0.25  # of others, a core, the average of a minute
TAKEN = 0.1  # of the cores' time, by others
STEAL = 0.02  # a share of the CPU's time
HELD_S = 0.01  # seconds
CHANGE = 1.1  # the highest clock over the lowest
HELD_DOWN = ("PowerCap", "Slowdown")  # parts of NVML's names for what a GPU does against heat and for want of power
IDLE = "GpuIdle"


def doubts(around: Conditions, cores: int) -> tuple[str, ...]:
    """The sentences; `cores` is how many this program may run on. Empty: nothing is known to have disturbed it."""
    found = [_before(around, cores), _others(around, cores), _steal(around), _limit(around, cores), _held(around)]
    found += [_governor(around), *_clocks(around), _hot(around), _throttled(around)]
    return tuple(sentence for sentence in found if sentence)


def _before(around: Conditions, cores: int) -> str | None:
    others = around.others_before
    if others is None or others <= LOAD * cores:
        return None
    return f"Other programs kept the machine busy before measuring: load {others:.2f} on {count(cores, 'core')}."


def _others(around: Conditions, cores: int) -> str | None:
    if around.others_cores is None or around.others_cores <= TAKEN * cores:
        return None
    return f"Other programs took {around.others_cores:.2f} of {count(cores, 'core')} while measuring."


def _steal(around: Conditions) -> str | None:
    if around.steal is None or around.steal <= STEAL:
        return None
    return f"The hypervisor gave {100 * around.steal:.1f} % of the CPU's time to other machines while measuring."


def _limit(around: Conditions, cores: int) -> str | None:
    if around.cpu_limit is None or around.cpu_limit >= cores:
        return None
    return (
        f"The control group allows {around.cpu_limit:g} cores' worth of time, on {count(cores, 'core')}: with more "
        "threads than that, all are stopped now and then."
    )


def _held(around: Conditions) -> str | None:
    if around.held_s is None or around.held_s <= HELD_S:
        return None
    return f"The control group's limit stopped this program for {around.held_s:.2f} s."


def _governor(around: Conditions) -> str | None:
    if "powersave" not in (around.before.governor or ""):
        return None
    return f"The CPU's frequency governor is {around.before.governor}, which may keep its clock low."


def _clocks(around: Conditions) -> list[str | None]:
    """From the snapshots during alone: before it a machine is idle, and its clock low."""
    gpu_at_work = [state for state in around.during if IDLE not in (state.throttle_reasons or ())]
    return [
        _changed("CPU", [state.cpu_mhz for state in around.during]),
        _changed("GPU", [state.gpu_mhz for state in gpu_at_work]),
    ]


def _changed(what: str, clocks: Iterable[float | None]) -> str | None:
    known = [clock for clock in clocks if clock]
    if not known or max(known) <= CHANGE * min(known):
        return None
    return f"The {what}'s clock was between {min(known):.0f} and {max(known):.0f} MHz while measuring."


def _hot(around: Conditions) -> str | None:
    if not around.cpu_throttles:
        return None
    times = "once" if around.cpu_throttles == 1 else f"{around.cpu_throttles} times"
    return f"The CPU was throttled {times} while measuring, since it was too hot."


def _throttled(around: Conditions) -> str | None:
    states = [*around.during, around.after]
    names = dict.fromkeys(name for state in states for name in state.throttle_reasons or () if _holds_down(name))
    if not names:
        return None
    held = sum(_is_held_down(state) for state in states)
    return f"The GPU's clock was held down in {held} of {len(states)} looks at it: {', '.join(names)}."


def _is_held_down(state: Snapshot) -> bool:
    return any(_holds_down(name) for name in state.throttle_reasons or ())


def _holds_down(name: str) -> bool:
    return any(part in name for part in HELD_DOWN)
