"""Which shard goes to which worker, and what becomes of the shards of a lost one; the standard library only.

A worker has at most `IN_FLIGHT` shards: the one that it does, and one that waits, so that it never waits for the
driver. A shard is attempted again, after all others, when its worker is lost, takes too long or reports an error of
the system; the one that waited behind it was not attempted. So a shard that kills workers is the one that is named,
unless it does so before the driver has heard of the one that was done before it, which is then attempted once more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from wrn_deploy.cluster.work import Finished, Job
from wrn_deploy.errors import DeployError

__all__ = ["IN_FLIGHT", "Schedule"]

IN_FLIGHT = 2


@dataclass(slots=True)
class _Lane:
    """A worker's shards, the one that it does first, and when it began with that one."""

    shards: deque[int] = field(default_factory=deque)
    began_s: float = 0.0


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
        self._lanes: dict[int, _Lane] = {}
        self._attempts: dict[int, int] = {}
        self._undone = set(job.shards)

    @property
    def left(self) -> int:
        """Shards that are not done."""
        return len(self._undone)

    def add(self, worker: int) -> None:
        """A worker has opened."""
        self._lanes[worker] = _Lane()

    def assign(self, now_s: float) -> list[tuple[int, int]]:
        """Gives waiting shards to workers; returns pairs of worker and shard.

        Every worker gets a first shard before any gets a second one, and at the end none waits behind another.
        """
        given = []
        for depth in range(IN_FLIGHT):
            for worker, lane in self._lanes.items():
                spare = depth == 0 or len(self._waiting) > len(self._lanes)
                if len(lane.shards) == depth and self._waiting and spare:
                    lane.shards.append(self._waiting.popleft())
                    given.append((worker, lane.shards[-1]))
                    if depth == 0:
                        lane.began_s = now_s
        return given

    def finish(self, worker: int, finished: Finished, now_s: float) -> bool:
        """A worker has done a shard; whether it was not done before."""
        self._leave(worker, finished.shard, now_s)
        new = finished.shard in self._undone
        self._undone.discard(finished.shard)
        return new

    def fail(self, worker: int, shard: int, reason: str, now_s: float) -> None:
        """An attempt at a shard has failed; its worker goes on.

        Raises:
            DeployError: it was the last attempt.
        """
        self._leave(worker, shard, now_s)
        self._attempt_again(shard, reason)

    def lose(self, worker: int, reason: str) -> int | None:
        """A worker is gone; returns the shard that it was doing, if any.

        Raises:
            DeployError: it was the last attempt at that shard.
        """
        lane = self._lanes.pop(worker, _Lane())
        self._waiting.extendleft(reversed([*lane.shards][1:]))
        if not lane.shards:
            return None
        self._attempt_again(lane.shards[0], reason)
        return lane.shards[0]

    def overdue(self, now_s: float) -> list[int]:
        """The workers whose shard has taken longer than the limit."""
        if self._timeout_s is None:
            return []
        limit_s = self._timeout_s
        return [worker for worker, lane in self._lanes.items() if lane.shards and now_s - lane.began_s > limit_s]

    def _leave(self, worker: int, shard: int, now_s: float) -> None:
        lane = self._lanes.get(worker, _Lane())
        if shard in lane.shards:
            lane.shards.remove(shard)
            lane.began_s = now_s

    def _attempt_again(self, shard: int, reason: str) -> None:
        self._attempts[shard] = self._attempts.get(shard, 0) + 1
        if self._attempts[shard] > self._retries:
            times = "once" if self._retries == 0 else f"{self._attempts[shard]} times"
            raise DeployError(
                f"{self._job.describe(shard)} failed {times}, the last time because {reason}: expected it to end; "
                "run it without --ray to see the cause, or raise --retries"
            )
        self._waiting.append(shard)
