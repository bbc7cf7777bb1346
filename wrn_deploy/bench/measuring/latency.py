"""The only clock: times one section, the same for every contender."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from wrn_deploy.bench.report.report import WarmUp

__all__ = ["Times", "measure_latency", "measure_with_device", "warm_up"]

STEADY = 0.05  # the medians of two windows in a row that differ by less are level
WINDOW = 5  # runs


@dataclass(frozen=True, slots=True)
class Times:
    """Of the same runs by both clocks, in ms; `device_ms` is empty where the device has none."""

    host_ms: tuple[float, ...]
    device_ms: tuple[float, ...] = ()


def warm_up(section: Callable[[], object], least_s: float, most_s: float) -> tuple[WarmUp, float]:
    """Runs the section until its times are steady: the last two windows' medians are level.

    The first run may compile the network, for a minute: `most_s` begins behind it.

    Args:
        section: what is timed.
        least_s: it goes on for so long in any case.
        most_s: it ends after so long in any case, when at least two runs are done.

    Returns:
        how it went, and the median of the last window's times in ms.
    """
    start = time.perf_counter()
    times: list[float] = []
    while True:
        times.append(_time_one(section))
        seconds = time.perf_counter() - start
        after_first = seconds - times[0] / 1000
        last, before = times[-WINDOW:], times[-2 * WINDOW : -WINDOW]
        steady = len(before) == WINDOW and abs(median(last) / median(before) - 1) < STEADY
        if (steady and seconds >= least_s) or (after_first >= most_s and len(times) > 1):
            return WarmUp(round(seconds, 3), len(times), steady), median(last)


def measure_latency(section: Callable[[], object], iterations: int) -> list[float]:
    """Times of `iterations` runs, in ms, each by itself.

    One run that is not counted wakes the caches and threads up again: other contenders have run since the last call.
    """
    section()
    return [_time_one(section) for _ in range(iterations)]


def measure_with_device(section: Callable[[], object], device: Callable[[], float | None], iterations: int) -> Times:
    """As `measure_latency`, with the device's own time of each run beside the host's.

    Args:
        section: what is timed; it ends when the device is done.
        device: the device's time of the last run, in ms, None where it has no clock; the first call starts that. It is
            asked behind each run, outside of what the host's clock times.
        iterations: runs.
    """
    device()
    section()
    host: list[float] = []
    told: list[float | None] = []
    for _ in range(iterations):
        host.append(_time_one(section))
        told.append(device())
    known = [each for each in told if each is not None]
    return Times(tuple(host), tuple(known) if len(known) == len(host) else ())


def _time_one(section: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    section()
    return (time.perf_counter_ns() - start) / 1e6
