"""Which shard goes to which worker, and what becomes of the shard of a lost one; the standard library only.

A worker has one shard at a time, and gets the next one when the driver has heard of the last: within milliseconds, of
shards that take seconds. With a second one in its queue, a worker that dies would leave open which of them killed it.
A shard is attempted again, after all others, when its worker is lost, takes too long or reports an error of the system;
after such an error on another node, while there is one: a full disk of one node is not the others' fault.
"""

from __future__ import annotations

from collections import deque

from wrn_deploy.cluster.work import Finished, Job
from wrn_deploy.errors import DeployError

__all__ = ["Schedule"]


class Schedule:
    """The shards of a job: waiting, with a worker, done.

    Args:
        job: names the shards in errors.
        retries: further attempts for a shard.
        shard_timeout_s: seconds for one attempt; None: no limit.
    """

    def __init__(self, job: Job, *, retries: int, shard_timeout_s: float | None) -> None:
        self._job, self._retries, self._timeout_s = job, retries, shard_timeout_s
        self._waiting = deque(job.shards)
        self._idle: deque[int] = deque()  # workers
        self._nodes: dict[int, str] = {}  # of each worker that is open
        self._failed_on: dict[int, set[str]] = {}  # nodes that reported an error, by shard
        self._busy: dict[int, tuple[int, float]] = {}  # worker: its shard, and when it began
        self._attempts: dict[int, int] = {}
        self._undone = set(job.shards)

    @property
    def left(self) -> int:
        """Shards that are not done."""
        return len(self._undone)

    def add(self, worker: int, node: str) -> None:
        """A worker has opened on a node."""
        self._idle.append(worker)
        self._nodes[worker] = node

    def assign(self, now_s: float) -> list[tuple[int, int]]:
        """Gives waiting shards to idle workers; returns pairs of worker and shard."""
        given = []
        for worker in [*self._idle]:
            shard = self._next(self._nodes[worker])
            if shard is not None:
                self._idle.remove(worker)
                self._waiting.remove(shard)
                self._busy[worker] = (shard, now_s)
                given.append((worker, shard))
        return given

    def finish(self, worker: int, finished: Finished) -> bool:
        """A worker has done its shard; whether it was not done before."""
        self._free(worker)
        new = finished.shard in self._undone
        self._undone.discard(finished.shard)
        return new

    def fail(self, worker: int, shard: int, reason: str) -> None:
        """An attempt at a shard has failed; its worker goes on.

        Raises:
            DeployError: it was the last attempt.
        """
        self._failed_on.setdefault(shard, set()).add(self._nodes[worker])
        self._free(worker)
        self._attempt_again(shard, reason)

    def lose(self, worker: int, reason: str) -> int | None:
        """A worker is gone; returns the shard that it was doing, if any.

        Raises:
            DeployError: it was the last attempt at that shard.
        """
        if worker in self._idle:
            self._idle.remove(worker)
        self._nodes.pop(worker, None)
        if worker not in self._busy:
            return None
        shard, _ = self._busy.pop(worker)
        self._attempt_again(shard, reason)
        return shard

    def overdue(self, now_s: float) -> list[int]:
        """The workers whose shard has taken longer than the limit."""
        limit_s = self._timeout_s
        if limit_s is None:
            return []
        return [worker for worker, (_, began_s) in self._busy.items() if now_s - began_s > limit_s]

    def _next(self, node: str) -> int | None:
        """The first waiting shard that has not failed on this node, or that has failed on all."""
        for shard in self._waiting:
            on = self._failed_on.get(shard)
            if on is None or node not in on or on.issuperset(self._nodes.values()):
                return shard
        return None

    def _free(self, worker: int) -> None:
        if self._busy.pop(worker, None) is not None:
            self._idle.append(worker)

    def _attempt_again(self, shard: int, reason: str) -> None:
        self._attempts[shard] = self._attempts.get(shard, 0) + 1
        if self._attempts[shard] > self._retries:
            times = "once" if self._retries == 0 else f"{self._attempts[shard]} times"
            raise DeployError(
                f"{self._job.describe(shard)} failed {times}, the last time because {reason}: expected it to end; "
                "run it without --ray to see the cause, or raise --retries"
            )
        self._waiting.append(shard)
