"""Workers as Ray's actors, each pinned to a node; the pool of `cluster.pool`."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.cluster.on_ray.nodes import Nodes, claim
from wrn_deploy.cluster.on_ray.worker import ShardWorker
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.pool import Event, Failed, Lost, Node, Opened, Refused, ShardDone
from wrn_deploy.cluster.work import Finished, Job
from wrn_deploy.errors import DeployError
from wrn_deploy.files.budget import VARIABLE
from wrn_deploy.files.trust import HOST_CODE, SIGNED_BY
from wrn_deploy.formatting import one_line
from wrn_deploy.progress import Progress

__all__ = ["Actors"]

INHERITED = (VARIABLE, SIGNED_BY, HOST_CODE)  # limits and trust of the driver: a worker must not allow more
CLOSE_S = 10.0  # for all workers to close what they opened, before they are killed


@dataclass(frozen=True, slots=True)
class _Call:
    """What a reference to a future result is of; `shard` None: the opening of a worker."""

    worker: int
    shard: int | None


class Actors:
    """Starts actors that keep a job open, and waits for what they answer.

    Args:
        ray: the module, connected.
        job: it is put into the cluster's object store once.
        options: what a worker claims.
        progress: warned of nodes that cannot work.
    """

    def __init__(self, ray: Any, job: Job, options: ClusterOptions, progress: Progress) -> None:
        self._ray, self._options, self._nodes = ray, options, Nodes(ray, options, progress)
        self._job = ray.put(job)
        self._class = ray.remote(ShardWorker)
        self._environment = {name: os.environ.get(name) for name in INHERITED}
        self._numbers = itertools.count()
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, _Call] = {}

    def nodes(self) -> Sequence[Node]:
        """The living nodes that have the driver's versions."""
        return self._nodes.usable()

    def start(self, node: Node) -> int:
        """Starts an actor on the node and lets it open the job."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus, gpus = claim(self._nodes.resources(node.id), self._options)
        worker = next(self._numbers)
        pinned = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
        actor = self._class.options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, scheduling_strategy=pinned
        ).remote(str(Path.cwd()), self._environment)
        self._actors[worker] = actor
        self._calls[actor.open.remote(self._job, int(cpus))] = _Call(worker, None)
        return worker

    def submit(self, worker: int, shard: int) -> None:
        """Gives an idle actor a shard."""
        self._calls[self._actors[worker].run.remote(shard)] = _Call(worker, shard)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Everything that has happened; of a worker that is gone, what it finished comes before its loss."""
        if not self._calls:
            time.sleep(timeout_s)
            return []
        self._ray.wait([*self._calls], num_returns=1, timeout=timeout_s)
        ready, _ = self._ray.wait([*self._calls], num_returns=len(self._calls), timeout=0)
        events = sorted(map(self._event, ready), key=lambda event: isinstance(event, Lost))
        lost = {event.worker: event for event in events if isinstance(event, Lost)}
        for worker in lost:
            self._forget(worker)
        return [event for event in events if not isinstance(event, Lost)] + [*lost.values()]

    def kill(self, worker: int) -> None:
        """Kills an actor's process, unless it is known to be gone."""
        actor = self._actors.get(worker)
        if actor is not None:
            self._forget(worker)
            self._ray.kill(actor, no_restart=True)

    def now(self) -> float:
        """The monotonic clock."""
        return time.monotonic()

    def close(self) -> None:
        """Lets the actors close what they opened, and ends them."""
        closing = [actor.close.remote() for actor in self._actors.values()]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        self.kill_all()

    def kill_all(self) -> None:
        """Kills all actors."""
        for worker in [*self._actors]:
            self.kill(worker)

    def _forget(self, worker: int) -> None:
        self._actors.pop(worker, None)
        for reference in [one for one, call in self._calls.items() if call.worker == worker]:
            del self._calls[reference]

    def _event(self, reference: Any) -> Event:
        call = self._calls.pop(reference)
        try:
            answer: Finished | DeployError | None = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # an exception in the worker's code
            reason = one_line(f"{type(error.cause).__name__}: {error.cause}")
            return Lost(call.worker, reason) if call.shard is None else Failed(call.worker, call.shard, reason)
        except self._ray.exceptions.RayError as error:  # its process or node, or the result that it kept there
            return Lost(call.worker, _reason(error))
        if isinstance(answer, DeployError):
            return Refused(call.worker, answer)
        return Opened(call.worker) if answer is None else ShardDone(call.worker, answer)


def _reason(error: Exception) -> str:
    """The first sentence of Ray's text, which goes on for a page."""
    lines: Iterable[str] = (line.strip() for line in str(error).splitlines())
    return one_line(next(filter(None, lines), type(error).__name__))
