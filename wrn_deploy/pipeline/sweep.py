"""Several bundles as one job: each bundle is a shard, which a node opens, and may change, by its path."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError

__all__ = ["BundleJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleJob:
    """A `cluster.work.Job` that does the same with each bundle.

    Args:
        title: for progress.
        bundles: their folders.
        work: what is done with a bundle, given its number and a worker's threads; it travels to the nodes, so it must
            be picklable.
    """

    title: str
    bundles: tuple[Path, ...]
    work: Callable[[Bundle, int, int | None], Finished]

    @property
    def shards(self) -> tuple[int, ...]:
        """The bundles by number."""
        return tuple(range(len(self.bundles)))

    def describe(self, shard: int) -> str:
        """The bundle's folder."""
        return str(self.bundles[shard])

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[_BundleWorker]:
        """Opens nothing: bundles are opened one by one."""
        yield _BundleWorker(self, threads)


@dataclass(frozen=True, slots=True)
class _BundleWorker:
    job: BundleJob
    threads: int | None

    def run(self, shard: int) -> Finished:
        """Does one bundle.

        Raises:
            DeployError: as the work; the text begins with the bundle.
        """
        began, job = time.perf_counter(), self.job
        try:
            finished = job.work(Bundle.open(job.bundles[shard]), shard, self.threads)
        except DeployError as error:
            raise type(error)(f"{job.describe(shard)}: {error}") from error
        return dataclasses.replace(finished, seconds=time.perf_counter() - began)
