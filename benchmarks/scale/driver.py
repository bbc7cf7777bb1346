r"""Measures what Ray costs the driver: shards that do nothing, on a local cluster, and waiting for many answers.

    python -m benchmarks.scale.driver [--shards 2000] [--rounds 3] [--out FILE]

Shards a second with one and with two workers bound the rate at which one driver hands out work. A driver of 1,000
workers waits for as many answers at a time: `ray.wait` is timed with some that never come, beside one that is there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.cluster.on_ray.session import connected
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.ray import run_on_ray
from wrn_deploy.cluster.work import Finished
from wrn_deploy.progress import Silent

WORKERS, WAITING, TIMES = (1, 2), (2, 100, 1000), 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyJob:
    """Shards that are done at once."""

    shards: tuple[int, ...]
    title: str = "empty shards"

    def describe(self, shard: int) -> str:
        """The shard's number."""
        return f"shard {shard}"

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[EmptyWorker]:
        """Opens nothing."""
        del threads
        yield EmptyWorker()


class EmptyWorker:
    """Does nothing."""

    def run(self, shard: int) -> Finished:
        """The shard, done."""
        return Finished(shard=shard, images=0, seconds=0.0)


def main() -> None:
    """Measures both, writes the raw numbers, and prints a table."""
    given, load = _arguments(), os.getloadavg()[0]
    began = time.perf_counter()
    with connected(ClusterOptions()) as ray:
        start_s = time.perf_counter() - began
        rates = {str(workers): [_rate(given.shards, workers) for _ in range(given.rounds)] for workers in WORKERS}
        waits = {str(pending): _wait(ray, pending) for pending in WAITING}
    record = start_record("ray_driver", "ray")
    record |= {
        "load_average": [round(value, 2) for value in (load, os.getloadavg()[0])],  # before and after
        "shards": given.shards,
        "start_s": round(start_s, 3),
        "shards_per_s": rates,
        "wait_ms": waits,
    }
    if given.out is not None:
        write_record(given.out, record)
    table = make_table("what", "min", "median")
    for workers, found in rates.items():
        table.add_row(f"shards a second, workers: {workers}", f"{min(found):.0f}", f"{statistics.median(found):.0f}")
    for pending, times in waits.items():
        table.add_row(f"ray.wait, {pending} pending, ms", f"{min(times):.3f}", f"{statistics.median(times):.3f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"The cluster started in {start_s:.1f} s.")


def _rate(shards: int, workers: int) -> float:
    """Shards a second after the first one, which waits for the workers to open."""
    times: list[float] = []
    job, options = EmptyJob(shards=tuple(range(shards))), ClusterOptions(workers=workers)
    run_on_ray(job, options, lambda _finished: times.append(time.perf_counter()), Silent())
    return round((len(times) - 1) / (times[-1] - times[0]), 1)


def _wait(ray: Any, pending: int) -> list[float]:
    """Milliseconds of single calls."""
    never = ray.remote(num_cpus=0, num_gpus=1000)(_do_nothing)  # no node has as many, so that it never runs
    waiting = [never.remote() for _ in range(pending)]
    times = []
    for number in range(TIMES):
        there = ray.put(number)
        began = time.perf_counter()
        ray.wait([there, *waiting], num_returns=1, timeout=1)
        ray.wait([there, *waiting], num_returns=pending + 1, timeout=0)
        times.append(round(1000 * (time.perf_counter() - began), 4))
    for one in waiting:
        ray.cancel(one)
    return times


def _do_nothing() -> None:
    pass


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
