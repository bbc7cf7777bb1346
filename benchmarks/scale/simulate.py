r"""Runs the real scheduler on simulated clusters of up to 1,000 workers: how busy it keeps them, and what it costs.

    python -m benchmarks.scale.simulate [--shards 1000] [--seconds 60] [--seed 0] [--out FILE]

Each shard does nothing, and takes `--seconds` on average: log-normal times with a spread of 20 %. Rows differ in the
number of workers, eight to a node, and in what goes wrong: nodes that are lost at random moments of the ideal time and
replaced five minutes later, and shards that hang once. Beside the simulated time are the scheduler's own seconds on
this machine, the simulation's included, which bound how many shards a second one driver can hand out.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from benchmarks.scale.simulated import SimulatedNode, SimulatedPool
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.run import run_shards
from wrn_deploy.cluster.work import Finished
from wrn_deploy.progress import Silent

WORKERS = (1, 8, 64, 256, 1000)
ROOM = 8  # workers on a node
SPREAD = 0.2  # of a shard's time, as the deviation of its logarithm
OPEN_S = 5.0  # to open a bundle
REPLACED_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row: workers, the fraction of nodes that is lost, and the shards that hang the first time."""

    workers: int
    lost: float = 0.0
    hanging: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Shards without content."""

    shards: tuple[int, ...]
    title: str = "simulation"

    def describe(self, shard: int) -> str:
        return f"shard {shard}"

    def open(self, threads: int | None) -> Any:
        raise AssertionError(threads)


def main() -> None:
    """Runs all rows, writes them, and prints a table."""
    given, console = _arguments(), Console(width=120)
    cases = [Case(workers=workers) for workers in WORKERS]
    cases += [Case(workers=workers, lost=0.25) for workers in WORKERS if workers >= 4 * ROOM]
    cases.append(Case(workers=64, hanging=10))
    rows = [{**dataclasses.asdict(case), **simulate(case, given.shards, given.seconds, given.seed)} for case in cases]
    record = start_record("scale")
    record |= {
        "shards": given.shards,
        "seconds_per_shard": given.seconds,
        "spread": SPREAD,
        "seed": given.seed,
        "rows": rows,
    }
    if given.out is not None:
        write_record(given.out, record)
    table = make_table("workers", "nodes lost", "hang", "hours", "ideal", "busy", "attempts", "driver us a shard")
    for row in rows:
        hours = (f"{row[name] / 3600:.3f}" for name in ("simulated_s", "ideal_s"))
        counts = (str(row["nodes_lost"]), str(row["hanging"]))
        driver = f"{1e6 * row['driver_s'] / given.shards:.0f}"
        table.add_row(str(row["workers"]), *counts, *hours, f"{row['busy']:.1%}", str(row["attempts"]), driver)
    console.print(table)


def simulate(case: Case, shards: int, seconds: float, seed: int) -> dict[str, Any]:
    """Simulated seconds, the ideal, the share of them that workers were busy with what counted, and real seconds."""
    chance = random.Random(seed)  # noqa: S311 (a simulation)
    times = [seconds * math.exp(chance.gauss(-(SPREAD**2) / 2, SPREAD)) for _ in range(shards)]
    ideal_s = max(sum(times) / case.workers, *times)
    nodes = _nodes(case, ideal_s, chance)
    hang = dict.fromkeys(chance.sample(range(shards), case.hanging), True)
    pool = SimulatedPool(nodes, _seconds(times, hang), open_s=OPEN_S)
    options = ClusterOptions(workers=case.workers, shard_timeout_s=10 * seconds)
    done: list[Finished] = []
    began = time.perf_counter()
    run_shards(_Job(shards=tuple(range(shards))), pool, options, done.append, Silent())
    driver_s = time.perf_counter() - began
    assert sorted(one.shard for one in done) == list(range(shards))
    return {
        "nodes_lost": sum(node.lost_s < pool.now() for node in nodes),
        "simulated_s": round(pool.now(), 1),
        "ideal_s": round(ideal_s, 1),
        "busy": round(sum(times) / (case.workers * pool.now()), 4),
        "attempts": len(pool.submitted),
        "driver_s": round(driver_s, 4),
    }


def _nodes(case: Case, ideal_s: float, chance: random.Random) -> list[SimulatedNode]:
    """Full nodes, some of which are lost once, each with the one that replaces it."""
    count = -(-case.workers // ROOM)
    rooms = [min(ROOM, case.workers - ROOM * number) for number in range(count)]
    lost = {number: chance.uniform(0.0, ideal_s) for number in chance.sample(range(count), round(case.lost * count))}
    nodes = [
        SimulatedNode(name=f"node {number}", room=room, lost_s=lost.get(number, math.inf))
        for number, room in enumerate(rooms)
    ]
    replacing = [
        SimulatedNode(name=f"node {number}, again", room=rooms[number], joins_s=when + REPLACED_S)
        for number, when in lost.items()
    ]
    return [*nodes, *replacing]


def _seconds(times: list[float], hang: dict[int, bool]) -> Callable[[int, SimulatedNode], float]:
    def take(shard: int, _node: SimulatedNode) -> float:
        return math.inf if hang.pop(shard, False) else times[shard]

    return take


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0, help="that a shard takes on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
