"""The process that holds one candidate: opens it and measures on request; `isolate.py` starts it."""

from __future__ import annotations

import contextlib
import os
import random
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wrn_deploy.bench.measuring.accuracy import Answers, LogitFile, ask, fill
from wrn_deploy.bench.measuring.latency import Section, Times, measure_latency, section_of, warm_up
from wrn_deploy.bench.measuring.loadgen import Load, run_scenario
from wrn_deploy.bench.report.report import Boundary, LoadResult, WarmUp
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import MaxCorrupt, count_allowed
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches, as_input
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.subset import adjacent
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import peak_rss_bytes
from wrn_deploy.process.children import serve_parent
from wrn_deploy.process.scratch import full_is_named
from wrn_deploy.runtime.backend import Array, Backend, open_backend
from wrn_deploy.serving.served import ServedBackend, find_served
from wrn_deploy.spec import Precision

__all__ = ["WorkerConfig", "serve", "shuffle_threads"]

LIBRARY = 256  # maximum number of images that a load scenario draws its queries from


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The candidate that a worker opens, and the data it measures on.

    `workers` processes decode while `ask` runs, never while something is timed. `server` is the address of a Triton
    server that runs the candidate.
    """

    folder: str
    backend: str
    precision: Precision
    threads: int | None
    data: str
    limit: int | None
    max_corrupt: MaxCorrupt
    accuracy_batch: int
    streams: int = 1
    boundary: Boundary = Boundary.COMPUTE
    workers: int | None = 0
    server: str | None = None


class _OpenCandidate:
    """What the parent can ask for: each method is one command."""

    def __init__(self, config: WorkerConfig, send: Callable[[Any], None]) -> None:
        self._config, self._send = config, send
        self._bundle = Bundle.open(config.folder)
        self._source = match_classes(open_data(config.data, Role.TEST), self._bundle.spec)
        backend, precision, threads = config.backend, config.precision, config.threads
        if config.server is not None:
            served = find_served(self._bundle, config.server)
            self._backend: Backend = ServedBackend(next(one for one in served if one.precision is precision))
        else:
            self._backend = open_backend(self._bundle, backend=backend, precision=precision, threads=threads)
        self._backends = [self._backend, *(self._backend.sibling() for _ in range(config.streams - 1))]
        self._pool = ThreadPoolExecutor(config.streams)
        self._random = random.Random()  # noqa: S311 (nothing secret)

    def warm_up(self, batch: int, min_s: float, max_s: float) -> tuple[WarmUp, float]:
        return warm_up(self._section(batch), min_s, max_s)

    def time(self, batch: int, iterations: int) -> Times:
        shuffle_threads(self._random)
        if self._config.streams > 1:  # the device's times of overlapping streams do not add up
            return measure_latency(self._section(batch), iterations)
        return measure_latency(self._section(batch), iterations, self._backend.elapsed_ms)

    def load(self, load: Load, folder: Path) -> LoadResult:
        return run_scenario(self._backend, self._images(min(LIBRARY, self._config.limit or LIBRARY)), load, folder)

    def ask(self, logits: LogitFile | None = None, block: Block | None = None) -> Answers:
        batches = self._batches(self._config.accuracy_batch, block or Block())
        workers = choose_workers(self._config.workers, batches.preprocessing, len(batches))
        with Decoders(workers) as batches.decoders, full_is_named():  # the logits lie in TMPDIR
            return ask(self._backend, batches, self._bundle.spec, lambda done: self._send(("progress", done)), logits)

    def peak_rss_bytes(self) -> int:
        return peak_rss_bytes()

    def close(self) -> None:
        self._pool.shutdown()
        for backend in reversed(self._backends):
            backend.close()

    def _section(self, batch: int) -> Section:
        return section_of(self._backends, self._config.boundary, lambda: self._images(batch), self._pool)

    def _batches(self, size: int, block: Block) -> Batches:
        """Batches of the images of a shard; they begin at multiples of `size`, whichever shards there are."""
        given, preprocessing = self._config, self._bundle.spec.preprocessing
        if block.count == 1:
            limit, most = given.limit, given.max_corrupt
            return Batches(self._source, preprocessing, size, limit=limit, max_corrupt=most, aligned=True)
        total = min(len(self._source), given.limit or len(self._source))
        source, most = adjacent(self._source, block.of(total, size)), count_allowed(given.max_corrupt, total)
        return Batches(source, preprocessing, size, max_corrupt=most, aligned=True)

    def _images(self, batch: int) -> Array:
        """The first images of the data as the backend takes them, repeated if there are fewer than `batch`."""
        batches = self._batches(batch, Block())
        first = next(iter(batches))
        return fill(as_input(first.images, batches.preprocessing, self._backend.inputs[0]), batch)


def shuffle_threads(chance: random.Random) -> None:
    """Moves each thread to a random core, then frees it again; threads that a runtime has bound stay bound.

    A process's threads can stay for minutes where they start: two of them on one core while other work has the second,
    say. One copy of a candidate then takes half as long again as another in every round, which no number of rounds
    averages out (measured). A shuffle before each turn makes that the luck of a turn, not of a process. Does nothing on
    systems other than Linux.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    for task in Path("/proc/self/task").iterdir():
        thread = int(task.name)
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.sched_getaffinity(thread) == allowed:
                os.sched_setaffinity(thread, {chance.choice(sorted(allowed))})
                os.sched_setaffinity(thread, allowed)


def serve(socket: int) -> None:
    """Answers commands, (name, arguments), until `close` or the end of the connection on the file descriptor `socket`.

    An answer is ("done", result) or ("failed", reason); ("progress", images) may come before it.
    """
    serve_parent()
    connection = Connection(socket)
    candidate: _OpenCandidate | None = None
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:  # the parent is gone
            return
        try:
            if name == "open":
                candidate = _OpenCandidate(arguments[0], connection.send)
                connection.send(("done", None))
                continue
            assert candidate is not None, "the first command is open"
            connection.send(("done", getattr(candidate, name)(*arguments)))
        except DeployError as error:
            connection.send(("failed", str(error)))
        except Exception as error:  # noqa: BLE001 (whatever a runtime raises ends this row, not the benchmark)
            traceback.print_exc()
            connection.send(("failed", f"{type(error).__name__}: {error}"))
        if name == "close":
            return
