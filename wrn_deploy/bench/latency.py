"""The only clock: times one section, the same for every backend."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from wrn_deploy.backend import Backend

__all__ = ["BOUNDARY", "measure_latency", "warm_up"]

BOUNDARY = "inference alone, from its start until the device is done; the input is there already, no copies"


def warm_up(backend: Backend, images: npt.NDArray[np.float32], seconds: float) -> float:
    """Uploads `images` and runs until `seconds` have passed, twice at least; returns the last run's time, in ms."""
    backend.upload(images)
    start = time.perf_counter()
    count, last = 0, 0.0
    while count < 2 or time.perf_counter() - start < seconds:
        last = _time_one(backend)
        count += 1
    return last


def measure_latency(backend: Backend, images: npt.NDArray[np.float32], iterations: int) -> list[float]:
    """Times of `iterations` runs, in ms, each by itself.

    The images are uploaded first, and one run that is not counted wakes the caches and threads up again: other
    contenders have run since the last call.
    """
    backend.upload(images)
    _time_one(backend)
    return [_time_one(backend) for _ in range(iterations)]


def _time_one(backend: Backend) -> float:
    start = time.perf_counter_ns()
    backend.execute()
    backend.synchronize()
    return (time.perf_counter_ns() - start) / 1e6
