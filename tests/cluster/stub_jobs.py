"""Jobs for schedulers: numbered shards that do nothing, or what a test wants to see survived."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.cluster.work import Finished, Job, Worker
from wrn_deploy.errors import DamagedFile

__all__ = ["SlowJob", "StubJob", "result_of"]

IMAGES = 10


def result_of(shard: int) -> bytes:
    """What a shard's result must be, whoever did it."""
    return hashlib.sha256(str(shard).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StubJob:
    """Each shard writes a line into a file of `folder` when it begins, and sleeps.

    Args:
        folder: for the marks; one file for each attempt.
        shards: numbers left to do.
        seconds: that each takes.
        dies: shards that kill their process, by number: "exit", "kill", "raise", "hang" or "refuse".
        times: in how many attempts they do so.
        writes: a folder into which each shard writes 64 KiB first; None: nowhere.
        title: for progress.
    """

    folder: Path
    shards: tuple[int, ...]
    seconds: float = 0.0
    dies: tuple[tuple[int, str], ...] = ()
    times: int = 1
    writes: Path | None = None
    title: str = "stub"

    def describe(self, shard: int) -> str:
        return f"stub shard {shard}"

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[StubWorker]:
        yield StubWorker(self, threads)
        self._mark("closed")

    def attempts(self, shard: int) -> int:
        """How often the shard was begun so far."""
        return len(list(self.folder.glob(f"begun-{shard}-*")))

    def processes(self) -> set[int]:
        """The processes that began a shard."""
        return {int(path.name.rpartition("-")[2].partition(".")[0]) for path in self.folder.glob("begun-*")}

    def _mark(self, name: str) -> None:
        (self.folder / f"{name}-{os.getpid()}.{time.time_ns()}").touch()


class StubWorker:
    """Does what the job says."""

    def __init__(self, job: StubJob, threads: int | None) -> None:
        self.job, self.threads = job, threads

    def run(self, shard: int) -> Finished:
        job, began = self.job, time.monotonic()
        attempt = job.attempts(shard)
        job._mark(f"begun-{shard}")
        kind = dict(job.dies).get(shard)
        if kind is not None and attempt < job.times:
            _die(kind)
        if job.writes is not None:
            (job.writes / str(shard)).write_bytes(bytes(2**16))
        time.sleep(job.seconds)
        seconds = time.monotonic() - began
        return Finished(shard=shard, images=IMAGES, corrupt=(), seconds=seconds, result=result_of(shard))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowJob:
    """A real job with pauses, so that a test can do something while its shards are done."""

    inner: Job
    seconds: float

    @property
    def title(self) -> str:
        return self.inner.title

    @property
    def shards(self) -> tuple[int, ...]:
        return self.inner.shards

    def describe(self, shard: int) -> str:
        return self.inner.describe(shard)

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[SlowWorker]:
        with self.inner.open(threads) as worker:
            yield SlowWorker(worker, self.seconds)


@dataclass(frozen=True, slots=True)
class SlowWorker:
    """Rests, then does a shard."""

    inner: Worker
    seconds: float

    def run(self, shard: int) -> Finished:
        time.sleep(self.seconds)
        return self.inner.run(shard)


def _die(kind: str) -> None:
    if kind == "exit":
        os._exit(1)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(1000)
    if kind == "raise":
        raise OSError("the storage did not answer")
    raise DamagedFile("shard.tar is damaged: expected a tar file")
