"""What runs workers, as the schedule sees it: nodes with room, workers that open, finish, fail or are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError

__all__ = ["Event", "Failed", "Lost", "Node", "Opened", "Pool", "Refused", "ShardDone"]


@dataclass(frozen=True, slots=True)
class Node:
    """A living node: its id, its name for people, and the number of workers that it has room for."""

    id: str
    name: str
    room: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker can take shards."""

    worker: int


@dataclass(frozen=True, slots=True)
class ShardDone:
    """A worker finished a shard."""

    worker: int
    finished: Finished


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard ended with an error that another attempt may avoid; its worker goes on."""

    worker: int
    shard: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone with its shards: it died, its node did, or it could not open the job."""

    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The input is wrong: the job ends with this error."""

    worker: int
    error: DeployError


Event: TypeAlias = Opened | ShardDone | Failed | Lost | Refused


class Pool(Protocol):
    """Processes on nodes. Workers are known by numbers that are never used twice."""

    def nodes(self) -> Sequence[Node]:
        """The nodes that are alive now."""

    def start(self, node: Node) -> int:
        """Starts a worker on a node, which opens the job; returns its number."""

    def submit(self, worker: int, shard: int) -> None:
        """Gives an idle worker a shard."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Waits until something happens, or for `timeout_s`; returns everything that did, finished shards first."""

    def kill(self, worker: int) -> None:
        """Ends a worker at once, unless it has ended; nothing more is heard of it."""

    def now(self) -> float:
        """Seconds of a clock that only goes on."""
