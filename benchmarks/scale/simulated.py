"""A cluster whose clock is an ordered list of events: what the scheduler does in a year of machines, in seconds."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from wrn_deploy.cluster.pool import Event, Lost, Node, Opened, ShardDone
from wrn_deploy.cluster.work import Finished

__all__ = ["SimulatedNode", "SimulatedPool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedNode:
    """A node with room for workers, from the second it joins until the one it is lost."""

    name: str
    room: int
    joins_s: float = 0.0
    lost_s: float = float("inf")


@dataclass(slots=True)
class _SimulatedWorker:
    node: SimulatedNode
    shards: deque[int] = field(default_factory=deque)
    open: bool = False


class SimulatedPool:
    """Workers that take the given time.

    Args:
        nodes: the cluster.
        seconds_of: how long a shard takes on a node.
        images: in each shard.
        open_s: how long a worker takes to open.
        detect_s: until the driver hears of a lost node.
        poison: shards that kill their worker when they end.
    """

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        seconds_of: Callable[[int, SimulatedNode], float],
        *,
        images: int = 1000,
        open_s: float = 1.0,
        detect_s: float = 10.0,
        poison: Collection[int] = (),
    ) -> None:
        self._nodes, self._seconds_of, self._images = nodes, seconds_of, images
        self._open_s, self._detect_s, self._poison = open_s, detect_s, frozenset(poison)
        self._now_s, self._order, self._numbers = 0.0, itertools.count(), itertools.count()
        self._coming: list[tuple[float, int, int, int | None]] = []  # time, order, worker, shard or None: opened
        self._workers: dict[int, _SimulatedWorker] = {}
        self.submitted: list[tuple[int, int]] = []  # worker and shard
        self.most_in_flight = 0

    def nodes(self) -> list[Node]:
        """Those that joined, and are not known to be lost."""
        now_s, detect_s = self._now_s, self._detect_s
        alive = [node for node in self._nodes if node.joins_s <= now_s < node.lost_s + detect_s]
        return [Node(node.name, node.name, node.room) for node in alive]

    def start(self, node: Node) -> int:
        """A worker, open after a while."""
        worker = next(self._numbers)
        self._workers[worker] = _SimulatedWorker(next(one for one in self._nodes if one.name == node.id))
        self._plan(self._open_s, worker, None)
        return worker

    def submit(self, worker: int, shard: int) -> None:
        """Queues a shard."""
        self.submitted.append((worker, shard))
        queue = self._workers[worker].shards
        queue.append(shard)
        self.most_in_flight = max(self.most_in_flight, len(queue))
        if len(queue) == 1:
            self._begin(worker)

    def wait(self, timeout_s: float) -> list[Event]:
        """Goes on to the next moment at which something happens, at most by `timeout_s`."""
        until_s, events = self._now_s + timeout_s, list[Event]()
        while self._coming and self._coming[0][0] <= (self._now_s if events else until_s):
            self._now_s, _, worker, shard = heapq.heappop(self._coming)
            if worker in self._workers:
                events.append(self._happen(worker, shard))
        if not events:
            self._now_s = until_s
        return sorted(events, key=lambda event: isinstance(event, Lost))

    def kill(self, worker: int) -> None:
        """Ends a worker, unless it has ended."""
        self._workers.pop(worker, None)

    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._now_s

    def _happen(self, worker: int, shard: int | None) -> Event:
        state = self._workers[worker]
        if self._now_s >= state.node.lost_s + self._detect_s:
            self.kill(worker)
            return Lost(worker, "its node was lost")
        if shard is None:
            state.open = True
            return Opened(worker)
        if shard in self._poison:
            self.kill(worker)
            return Lost(worker, "its process was killed")
        state.shards.popleft()
        if state.shards:
            self._begin(worker)
        seconds = self._seconds_of(shard, state.node)
        return ShardDone(worker, Finished(shard=shard, images=self._images, seconds=seconds))

    def _begin(self, worker: int) -> None:
        state = self._workers[worker]
        shard = state.shards[0]
        self._plan(self._seconds_of(shard, state.node), worker, shard)

    def _plan(self, seconds: float, worker: int, shard: int | None) -> None:
        """What a node would finish after it is lost, the driver hears as the loss instead."""
        lost_s = self._workers[worker].node.lost_s
        when_s = self._now_s + seconds
        when_s = when_s if when_s < lost_s else max(lost_s + self._detect_s, self._now_s)
        if when_s < float("inf"):  # what hangs never happens
            heapq.heappush(self._coming, (when_s, next(self._order), worker, shard))
