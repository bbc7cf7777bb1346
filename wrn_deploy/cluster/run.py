"""Runs the shards of a job on the workers of a pool: starts workers where nodes have room, replaces lost ones."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.pool import Event, Failed, Lost, Node, Opened, Pool, Refused, ShardDone
from wrn_deploy.cluster.schedule import Schedule
from wrn_deploy.cluster.summary import ClusterSummary, NodeSummary
from wrn_deploy.cluster.work import Finished, Job
from wrn_deploy.errors import DeployError
from wrn_deploy.formatting import count
from wrn_deploy.progress import Progress

__all__ = ["run_shards"]

LOOK_S = 2.0  # between two looks at the cluster's nodes
WAIT_S = 0.5  # for something to happen, before time limits are looked at
HOPE_S = 60.0  # for a node, when there is none


def run_shards(
    job: Job, pool: Pool, options: ClusterOptions, take: Callable[[Finished], None], progress: Progress
) -> ClusterSummary:
    """Runs all shards in any order, and calls `take` for each that is done, one at a time.

    Raises:
        DeployError: a worker's own error, which is about the input; or a shard that failed in every attempt; or no node
            has been left for a minute. What `take` raises goes through.
    """
    return _Run(job, pool, options, take, progress).run()


class _Run:
    """The state of one job between events of its pool."""

    def __init__(
        self, job: Job, pool: Pool, options: ClusterOptions, take: Callable[[Finished], None], progress: Progress
    ) -> None:
        self._job, self._pool, self._options, self._take, self._progress = job, pool, options, take, progress
        self._schedule = Schedule(job, retries=options.retries, shard_timeout_s=options.shard_timeout_s)
        self._home: dict[int, Node] = {}  # of each worker that is opening or open
        self._shares: dict[str, NodeSummary] = {}
        self._losses = Counter[str]()  # of workers, and errors of the system, in a row, by node
        self._reason = ""  # of the last loss
        self._looked_s = self._seen_s = pool.now()  # when nodes were looked at, and when there was one

    def run(self) -> ClusterSummary:
        began_s = self._pool.now()
        with self._progress.task(self._job.title, len(self._job.shards)) as advance:
            self._grow()
            while self._schedule.left:
                for worker, shard in self._schedule.assign(self._pool.now()):
                    self._pool.submit(worker, shard)
                for event in self._pool.wait(WAIT_S):
                    if event.worker in self._home:  # its node may just have been found to be lost
                        self._note(event, advance)
                for worker in self._schedule.overdue(self._pool.now()):
                    self._pool.kill(worker)
                    self._lose(worker, f"it took longer than {self._options.shard_timeout_s:g} s (--shard-timeout)")
                if self._pool.now() - self._looked_s >= LOOK_S:
                    self._grow()
        return ClusterSummary(seconds=self._pool.now() - began_s, nodes=tuple(self._shares.values()))

    def _grow(self) -> None:
        """Starts workers on the nodes with most room, up to the number that is asked for or of use."""
        self._looked_s = self._pool.now()
        alive = [node for node in self._pool.nodes() if node.room]
        self._leave_lost({node.id for node in alive})
        nodes = [node for node in alive if self._losses[node.id] < self._most_losses(node)]
        if alive and not nodes and not self._home:
            raise DeployError(
                f"every node of the cluster failed too many times in a row, the last one because {self._reason}"
            )
        free = Counter({node.id: node.room for node in nodes})
        free.subtract(home.id for home in self._home.values() if home.id in free)
        most = min(self._schedule.left, self._options.workers or self._schedule.left)
        while len(self._home) < most and free and max(free.values()) > 0:
            node = max(nodes, key=lambda one: free[one.id])
            free[node.id] -= 1
            self._home[self._pool.start(node)] = node
            self._count(node, workers=1)
        if self._home:
            self._seen_s = self._looked_s
        elif self._looked_s - self._seen_s > HOPE_S:
            raise DeployError(
                f"no node of the cluster can take work since {HOPE_S:g} s, with {count(self._schedule.left, 'shard')} "
                "left: expected one that is alive and whose workers start; `ray status` shows the nodes"
            )

    def _note(self, event: Event, advance: Callable[[int], None]) -> None:
        node = self._home[event.worker]
        match event:
            case Opened():
                self._schedule.add(event.worker, node.id)
            case ShardDone(finished=finished):
                self._losses[node.id] = 0
                if self._schedule.finish(event.worker, finished):
                    corrupt, seconds = len(finished.corrupt), finished.seconds
                    self._count(node, shards=1, images=finished.images, corrupt=corrupt, seconds=seconds)
                    self._take(finished)
                    advance(1)
            case Failed(shard=shard, reason=reason):
                self._count(node, retries=1)
                self._schedule.fail(event.worker, shard, reason)
                self._progress.warn(f"{self._job.describe(shard)} failed on {node.name} ({reason}): it is tried again")
                self._blame(node, reason)
            case Lost(reason=reason):
                self._lose(event.worker, reason)
            case Refused(error=error):
                raise error

    def _leave_lost(self, alive: set[str]) -> None:
        """Takes the workers of lost nodes off the list: an idle one is not heard of until it gets a shard."""
        for worker in [worker for worker, node in self._home.items() if node.id not in alive]:
            self._pool.kill(worker)
            self._drop(worker, "its node was lost")

    def _lose(self, worker: int, reason: str) -> None:
        self._drop(worker, reason)
        self._grow()

    def _drop(self, worker: int, reason: str) -> None:
        node = self._home.pop(worker)
        shard = self._schedule.lose(worker, reason)
        what = "a worker" if shard is None else f"the worker of {self._job.describe(shard)}"
        again = "" if shard is None else "; the shard is tried again"
        self._count(node, retries=0 if shard is None else 1)
        self._progress.warn(f"{what} on {node.name} was lost ({reason}){again}")
        self._blame(node, reason)

    def _blame(self, node: Node, reason: str) -> None:
        """Counts what went wrong on a node; with too much of it in a row, its workers end."""
        self._reason = reason
        self._losses[node.id] += 1
        if self._losses[node.id] == self._most_losses(node):
            self._progress.warn(f"{node.name} failed {self._losses[node.id]} times in a row: it gets no more work")
            for worker in [worker for worker, home in self._home.items() if home.id == node.id]:
                self._pool.kill(worker)
                del self._home[worker]
                if self._schedule.lose(worker, reason) is not None:
                    self._count(node, retries=1)

    def _most_losses(self, node: Node) -> int:
        return (self._options.retries + 1) * node.room

    def _count(self, node: Node, **more: float) -> None:
        share = self._shares.get(node.id, NodeSummary(node=node.name))
        self._shares[node.id] = dataclasses.replace(
            share, **{name: getattr(share, name) + add for name, add in more.items()}
        )
