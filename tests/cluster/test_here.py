"""A job in this process: each shard once, in order, with one worker that is closed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from wrn_deploy.cluster.here import run_here
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError
from wrn_deploy.progress import Silent


@dataclass
class Counting:
    """A job and its worker; shard 3 fails if `fails`."""

    shards: tuple[int, ...]
    fails: bool = False
    title: str = "Counting"
    events: list[str] = field(default_factory=list)

    def describe(self, shard: int) -> str:
        return f"shard {shard}"

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[Counting]:
        self.events.append(f"open {threads}")
        try:
            yield self
        finally:
            self.events.append("close")

    def run(self, shard: int) -> Finished:
        if self.fails and shard == 3:
            raise DeployError("shard 3 is bad")
        self.events.append(f"run {shard}")
        return Finished(shard=shard, images=10 * shard, seconds=0.0)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_shards_are_done_in_order_and_taken_one_by_one() -> None:
    job = Counting((4, 1, 2))
    run_here(job, lambda done: job.events.append(f"take {done.shard}"), Silent(), threads=3)
    assert job.events == ["open 3", "run 4", "take 4", "run 1", "take 1", "run 2", "take 2", "close"]


def test_an_error_ends_the_run_and_closes_the_worker() -> None:
    job = Counting((1, 3, 4), fails=True)
    with pytest.raises(DeployError, match="shard 3 is bad"):
        run_here(job, lambda _done: None, Silent())
    assert job.events == ["open None", "run 1", "close"]


def test_what_take_raises_ends_it_too() -> None:
    def take(finished: Finished) -> None:
        raise DeployError(f"too much at {finished.shard}")

    job = Counting((1, 2))
    with pytest.raises(DeployError, match="too much at 1"):
        run_here(job, take, Silent())
    assert job.events == ["open None", "run 1", "close"]


def test_the_pace_is_noted_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(0, 1000, 4))
    monkeypatch.setattr("wrn_deploy.cluster.here.time.perf_counter", lambda: float(next(moments)))
    progress = Notes()
    run_here(Counting((1, 2, 3, 4, 5, 6)), lambda _done: None, progress)
    assert progress.notes == [
        "3 of 6 shards, 60 images, 5 images per second", "6 of 6 shards, 210 images, 9 images per second",
    ]  # fmt: skip
