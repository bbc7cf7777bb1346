"""The process that holds one contender: opens it, and measures when its parent says so; started by `isolate.py`."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wrn_deploy.bench.measuring.accuracy import Answers, ask, fill
from wrn_deploy.bench.measuring.latency import Times, measure_with_device, warm_up
from wrn_deploy.bench.measuring.loadgen import Load, run_scenario
from wrn_deploy.bench.measuring.logits import LogitFile
from wrn_deploy.bench.measuring.placement import shuffle_threads
from wrn_deploy.bench.measuring.section import Section, section_of
from wrn_deploy.bench.report.report import Boundary, LoadResult, WarmUp
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import Share
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches, as_input
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import peak_rss_bytes
from wrn_deploy.runtime.backend import Array, Backend, open_backend
from wrn_deploy.spec import Precision

__all__ = ["Work", "serve"]

LIBRARY = 256  # images that a load scenario's queries are about, at most


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker holds, and the data that it measures on; `workers` decode beside `ask`, never beside a clock."""

    folder: str
    backend: str
    precision: Precision
    threads: int | None
    data: str
    limit: int | None
    max_corrupt: int | Share
    accuracy_batch: int
    streams: int = 1
    boundary: Boundary = Boundary.COMPUTE
    workers: int | None = 0


class _Contender:
    """What the parent can ask for; each method is one command."""

    def __init__(self, work: Work, tell: Callable[[Any], None]) -> None:
        self._work = work
        self._tell = tell
        self._bundle = Bundle.open(work.folder)
        self._source = match_classes(open_data(work.data, Role.TEST), self._bundle.spec)
        self._backend: Backend = open_backend(
            self._bundle, backend=work.backend, precision=work.precision, threads=work.threads
        )
        self._siblings = [self._backend.sibling() for _ in range(work.streams - 1)]
        self._pool = ThreadPoolExecutor(work.streams)
        self._chance = random.Random()  # noqa: S311 (nothing secret)

    def warm_up(self, batch: int, least_s: float, most_s: float) -> tuple[WarmUp, float]:
        return warm_up(self._section(batch), least_s, most_s)

    def time(self, batch: int, iterations: int) -> Times:
        """By the device's clock only on one stream: the times of several at the same time make no sum."""
        clock = self._backend.elapsed_ms if self._work.streams == 1 else _no_clock
        shuffle_threads(self._chance)
        return measure_with_device(self._section(batch), clock, iterations)

    def load(self, load: Load, folder: Path) -> LoadResult:
        count = min(LIBRARY, self._work.limit or LIBRARY)
        return run_scenario(self._backend, self._images(count), load, folder)

    def ask(self, logits: LogitFile | None = None) -> Answers:
        batches = self._batches(min(self._work.accuracy_batch, self._backend.batches[-1]))
        with Decoders(choose_workers(self._work.workers, batches.how, len(batches))) as batches.decoders:
            return ask(self._backend, batches, self._bundle.spec, lambda done: self._tell(("progress", done)), logits)

    def peak_rss_bytes(self) -> int:
        return peak_rss_bytes()

    def close(self) -> None:
        self._pool.shutdown()
        for backend in (*self._siblings, self._backend):
            backend.close()

    def _section(self, batch: int) -> Section:
        backends = [self._backend, *self._siblings]
        return section_of(backends, self._work.boundary, lambda: self._images(batch), self._pool)

    def _batches(self, size: int) -> Batches:
        how = self._bundle.spec.preprocessing
        return Batches(self._source, how, size, limit=self._work.limit, max_corrupt=self._work.max_corrupt)

    def _images(self, batch: int) -> Array:
        """The first images of the data, again from the start where there are fewer than `batch`."""
        first = next(iter(self._batches(batch)))
        return fill(as_input(first.images, self._bundle.spec), batch)


def _no_clock() -> None:
    return None


def serve(socket: int) -> None:
    """Answers commands, (name, arguments), until `close` or the end of the connection on the file descriptor `socket`.

    An answer is ("done", result) or ("failed", reason); ("progress", images) may come before it.
    """
    connection = Connection(socket)
    contender: _Contender | None = None
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:  # the parent is gone
            return
        try:
            if name == "open":
                contender = _Contender(arguments[0], connection.send)
                connection.send(("done", None))
                continue
            assert contender is not None, "the first command is open"
            connection.send(("done", getattr(contender, name)(*arguments)))
        except DeployError as error:
            connection.send(("failed", str(error)))
        except Exception as error:  # noqa: BLE001 (whatever a runtime raises ends this row, not the benchmark)
            traceback.print_exc()
            connection.send(("failed", f"{type(error).__name__}: {error}"))
        if name == "close":
            return
