"""The only clock, and the section that it times: the same for every candidate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median

from wrn_deploy.bench.report.report import Boundary, WarmUp
from wrn_deploy.runtime.backend import Array, Backend

__all__ = ["Section", "Times", "measure_latency", "section_of", "warm_up"]

STEADY = 0.05  # times are steady if the medians of two consecutive windows differ by less than this fraction
WINDOW = 5  # runs

Section = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """Times of the same runs by both clocks, in ms; `device_ms` is empty if the device has no clock."""

    host_ms: tuple[float, ...]
    device_ms: tuple[float, ...] = ()


def section_of(
    backends: Sequence[Backend], boundary: Boundary, prepare: Callable[[], Array], pool: ThreadPoolExecutor
) -> Section:
    """Returns one run: an inference on each of the backends, at the same time if there are several.

    Args:
        backends: one, or siblings that share their weights.
        boundary: what a run includes.
        prepare: decodes a batch of images and returns the input of the network.
        pool: runs the inferences if there are several, one thread each.
    """
    batch = prepare()
    for backend in backends:
        backend.upload(batch)

    def compute(backend: Backend) -> None:
        backend.execute()
        backend.synchronize()

    def transfer(backend: Backend) -> None:
        backend.infer(batch)

    def end_to_end(backend: Backend) -> None:
        backend.infer(prepare())[0].argmax(axis=1)

    run = {Boundary.COMPUTE: compute, Boundary.TRANSFER: transfer, Boundary.E2E: end_to_end}[boundary]
    if len(backends) == 1:
        return partial(run, backends[0])
    return lambda: list(pool.map(run, backends))


def warm_up(section: Section, min_s: float, max_s: float) -> tuple[WarmUp, float]:
    """Runs the section until its times are steady, for at least `min_s`; gives up after `max_s` and two runs.

    The first run may compile the network, for a minute: `max_s` counts from its end. Runs so long that there are not
    enough of them by then are judged by shorter windows, without the first run.

    Returns:
        the warm-up, and the median of the last window's times in ms.
    """
    start = time.perf_counter()
    times: list[float] = []
    while True:
        times.append(_time_one(section))
        seconds = time.perf_counter() - start
        after_first = seconds - times[0] / 1000
        late = after_first >= max_s and len(times) > 1
        window = max(1, min(WINDOW, (len(times) - 1) // 2)) if late else WINDOW
        last, before = times[-window:], times[-2 * window : -window]
        enough = len(times) > 2 * window if late else len(before) == window
        steady = enough and abs(median(last) / median(before) - 1) < STEADY
        if late or (steady and seconds >= min_s):
            return WarmUp(round(seconds, 3), len(times), steady), median(last)


def measure_latency(section: Section, iterations: int, device_ms: Callable[[], float | None] = lambda: None) -> Times:
    """Times `iterations` runs, each by itself, after one that does not count.

    The first run warms caches and threads up again, since other candidates ran in between.

    Args:
        section: returns when the device is done.
        iterations: number of runs.
        device_ms: returns the device's time of the last run, or None without such a clock. The first call starts that
            clock; later ones follow each run, outside the host's timing.
    """
    device_ms()
    section()
    pairs = [(_time_one(section), device_ms()) for _ in range(iterations)]
    known = tuple(device for _, device in pairs if device is not None)
    return Times(tuple(host for host, _ in pairs), known if len(known) == len(pairs) else ())


def _time_one(section: Section) -> float:
    start = time.perf_counter_ns()
    section()
    return (time.perf_counter_ns() - start) / 1e6
