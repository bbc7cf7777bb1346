"""What a scheduler runs: numbered shards of one job, each done whole or not at all; the standard library only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from wrn_deploy.progress import Progress

__all__ = ["Engine", "Finished", "Job", "Worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One shard that is done.

    Args:
        shard: its number.
        images: images in it.
        corrupt: names of images that were left out as corrupt.
        seconds: how long it took.
        result: bytes that the job wants back; None: the worker wrote its result itself.
    """

    shard: int
    images: int
    corrupt: tuple[str, ...] = ()
    seconds: float
    result: bytes | None = None


class Worker(Protocol):
    """Opened once in a process; does one shard after the other."""

    def run(self, shard: int) -> Finished:
        """Does one shard; raises DeployError for what is wrong with the input."""


class Job(Protocol):
    """What is to be done; it is picklable, since it travels to the processes that work."""

    @property
    def title(self) -> str:
        """For progress."""

    @property
    def shards(self) -> tuple[int, ...]:
        """Numbers of the shards that are left to do."""

    def describe(self, shard: int) -> str:
        """A shard's name for messages."""

    def open(self, threads: int | None) -> AbstractContextManager[Worker]:
        """A worker for the block, with as many CPU threads; None: one per core."""


# Runs all shards of a job in any order; calls the function in this process, one at a time, for each that is done.
Engine: TypeAlias = Callable[[Job, Callable[[Finished], None], Progress], None]
