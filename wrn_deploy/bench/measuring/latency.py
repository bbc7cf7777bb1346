"""The only clock: times one section, the same for every candidate."""

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
    """Times of the same runs by both clocks, in ms; `device_ms` is empty if the device has no clock."""

    host_ms: tuple[float, ...]
    device_ms: tuple[float, ...] = ()


def warm_up(section: Callable[[], object], min_s: float, max_s: float) -> tuple[WarmUp, float]:
    """Runs the section until its times are steady: the last two windows' medians are level.

    The first run may compile the network, for a minute: `max_s` counts from its end.

    Args:
        section: what is timed.
        min_s: runs at least this long.
        max_s: ends after this long, once two runs are done.

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
        if (steady and seconds >= min_s) or (after_first >= max_s and len(times) > 1):
            return WarmUp(round(seconds, 3), len(times), steady), median(last)


def measure_latency(section: Callable[[], object], iterations: int) -> list[float]:
    """Times of `iterations` runs, in ms, each by itself.

    The first run is not counted: it warms caches and threads up again, since other candidates ran in between.
    """
    section()
    return [_time_one(section) for _ in range(iterations)]


def measure_with_device(section: Callable[[], object], device: Callable[[], float | None], iterations: int) -> Times:
    """As `measure_latency`, with the device's own time of each run beside the host's.

    Args:
        section: what is timed; it returns when the device is done.
        device: gives the device's time of the last run in ms, or None if it has no clock; the first call starts the
            clock. Called after each run, outside the host's timing.
        iterations: number of runs.
    """
    device()
    section()
    host: list[float] = []
    device_ms: list[float | None] = []
    for _ in range(iterations):
        host.append(_time_one(section))
        device_ms.append(device())
    known = [each for each in device_ms if each is not None]
    return Times(tuple(host), tuple(known) if len(known) == len(host) else ())


def _time_one(section: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    section()
    return (time.perf_counter_ns() - start) / 1e6
