"""Runs a job in this process, one shard after the other; the standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable

from wrn_deploy.cluster.work import Finished, Job
from wrn_deploy.progress import Progress

__all__ = ["Pace", "run_here"]

SPEAK_S = 10.0  # between two notes on the pace


class Pace:
    """Notes now and then how many images a second are done.

    Args:
        total: the number of shards.
        progress: where the notes go.
    """

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress = total, progress
        self._done = self._images = 0
        self._start = self._last = time.perf_counter()

    def add(self, finished: Finished) -> None:
        """Counts a shard."""
        self._done, self._images = self._done + 1, self._images + finished.images
        now = time.perf_counter()
        if now - self._last >= SPEAK_S:
            self._last = now
            rate = self._images / (now - self._start)
            self._progress.note(
                f"{self._done} of {self._total} shards, {self._images} images, {rate:.0f} images per second"
            )


def run_here(job: Job, take: Callable[[Finished], None], progress: Progress, *, threads: int | None = None) -> None:
    """Runs all shards of the job in their order, with one worker that stays open.

    Args:
        job: what to do.
        take: receives each shard that is done, before the next one starts.
        progress: shows the shards and the images per second.
        threads: CPU threads of the worker; None: the library's default.
    """
    pace = Pace(len(job.shards), progress)
    with progress.task(job.title, len(job.shards)) as advance, job.open(threads) as worker:
        for shard in job.shards:
            finished = worker.run(shard)
            take(finished)
            pace.add(finished)
            advance(1)
