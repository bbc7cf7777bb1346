"""The loop between a job and the workers, on a simulated cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale.simulated import SimulatedNode, SimulatedPool
from tests.cluster.stub_jobs import StubJob
from wrn_deploy.cluster.options import ClusterOptions
from wrn_deploy.cluster.pool import Event, Failed, Opened, Refused, ShardDone
from wrn_deploy.cluster.run import run_shards
from wrn_deploy.cluster.summary import ClusterSummary
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.progress import Silent

SECONDS = 10.0  # that a shard takes


class Listener(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def _run(
    pool: SimulatedPool, shards: int, listener: Listener | None = None, **more: Any
) -> tuple[ClusterSummary, list[int]]:
    taken: list[int] = []
    job = StubJob(folder=Path(), shards=tuple(range(shards)))
    options = ClusterOptions(**more)
    summary = run_shards(job, pool, options, lambda one: taken.append(one.shard), listener or Silent())
    return summary, taken


def _pool(*nodes: SimulatedNode, **more: Any) -> SimulatedPool:
    return SimulatedPool(nodes, lambda _shard, _node: SECONDS, **more)


def test_all_shards_are_taken_once_and_counted_by_node() -> None:
    pool = _pool(SimulatedNode(name="a", room=2), SimulatedNode(name="b", room=1))
    summary, taken = _run(pool, 30)
    assert sorted(taken) == list(range(30))
    assert {node.node: (node.workers, node.shards, node.images) for node in summary.nodes} == {
        "a": (2, 20, 20_000),
        "b": (1, 10, 10_000),
    }
    assert summary.total().shards == 30
    assert summary.total().seconds == 30 * SECONDS
    assert summary.seconds == pytest.approx(1 + 10 * SECONDS, abs=1)
    assert pool.most_in_flight == 1


def test_workers_spread_over_the_nodes_up_to_the_number_that_is_asked_for() -> None:
    pool = _pool(SimulatedNode(name="a", room=4), SimulatedNode(name="b", room=4))
    summary, _ = _run(pool, 20, workers=4)
    assert [node.workers for node in summary.nodes] == [2, 2]


def test_no_more_workers_are_started_than_there_are_shards() -> None:
    summary, _ = _run(_pool(SimulatedNode(name="a", room=64)), 3)
    assert summary.total().workers == 3


def test_the_shards_of_a_lost_node_are_done_elsewhere() -> None:
    pool = _pool(SimulatedNode(name="a", room=2), SimulatedNode(name="b", room=2, lost_s=35.0))
    listener = Listener()
    summary, taken = _run(pool, 40, listener)
    assert sorted(taken) == list(range(40))
    lost = summary.nodes[1]
    assert (lost.node, lost.retries) == ("b", 2)
    assert lost.shards == 6, "two workers, three shards each before second 35"
    assert any("on b was lost (its node was lost); the shard is tried again" in text for text in listener.warnings)


def test_a_worker_of_a_lost_node_is_replaced_where_there_is_room() -> None:
    pool = _pool(SimulatedNode(name="a", room=4), SimulatedNode(name="b", room=4, lost_s=35.0))
    summary, _ = _run(pool, 40, workers=4)
    assert [node.workers for node in summary.nodes] == [4, 2]


def test_an_idle_worker_of_a_lost_node_gets_no_shard() -> None:
    """Of two shards, one takes long on `a`; `b` is done with the other, and lost, when the first one is lost too."""
    nodes = [
        SimulatedNode(name="a", room=1, lost_s=60.0),
        SimulatedNode(name="b", room=1, lost_s=30.0),
        SimulatedNode(name="c", room=1, joins_s=40.0),
    ]
    pool = SimulatedPool(nodes, lambda shard, node: 1000.0 if (shard, node.name) == (0, "a") else SECONDS)
    summary, taken = _run(pool, 2, retries=1)
    assert taken == [1, 0]
    assert {node.node: node.retries for node in summary.nodes} == {"a": 1, "b": 0, "c": 0}


def test_a_node_that_joins_later_gets_work() -> None:
    pool = _pool(SimulatedNode(name="a", room=1), SimulatedNode(name="b", room=4, joins_s=20.0))
    summary, taken = _run(pool, 40)
    assert sorted(taken) == list(range(40))
    assert summary.nodes[1].node == "b"
    assert summary.nodes[1].shards > 25


def test_a_shard_that_kills_its_worker_is_named_after_all_others_are_done() -> None:
    pool = _pool(SimulatedNode(name="a", room=2), poison={5})
    taken: list[int] = []
    job = StubJob(folder=Path(), shards=tuple(range(20)))
    with pytest.raises(DeployError, match=r"stub shard 5 failed 4 times, the last time because its process was killed"):
        run_shards(job, pool, ClusterOptions(), lambda one: taken.append(one.shard), Silent())
    assert sorted(taken) == [shard for shard in range(20) if shard != 5]


def test_a_shard_that_takes_too_long_is_tried_again_and_then_named() -> None:
    hangs = float("inf")
    pool = SimulatedPool([SimulatedNode(name="a", room=2)], lambda shard, _node: hangs if shard == 3 else SECONDS)
    listener = Listener()
    with pytest.raises(
        DeployError, match=r"stub shard 3 failed 2 times, .* it took longer than 60 s \(--shard-timeout\)"
    ):
        _run(pool, 10, listener, shard_timeout_s=60.0, retries=1)
    assert [shard for _, shard in pool.submitted].count(3) == 2
    assert {shard for _, shard in pool.submitted} == set(range(10))


def test_without_any_node_it_ends_after_a_minute() -> None:
    pool = _pool(SimulatedNode(name="a", room=2, lost_s=25.0))
    with pytest.raises(DeployError, match=r"no node of the cluster can take work since 60 s, with 6 shards left"):
        _run(pool, 10)
    assert pool.now() < 25 + 10 + 60 + 5


def test_a_node_whose_workers_never_open_gets_no_more_work() -> None:
    class Broken(SimulatedPool):
        def wait(self, timeout_s: float) -> list[Event]:
            from wrn_deploy.cluster.pool import Lost

            events = super().wait(timeout_s)
            broken = [
                event for event in events if isinstance(event, Opened) and self._workers[event.worker].node.name == "b"
            ]
            for event in broken:
                self.kill(event.worker)
            return [event for event in events if event not in broken] + [
                Lost(one.worker, "no library") for one in broken
            ]

    nodes = (SimulatedNode(name="a", room=1), SimulatedNode(name="b", room=1))
    listener = Listener()
    summary, taken = _run(Broken(nodes, lambda _shard, _node: SECONDS), 10, listener, retries=2)
    assert sorted(taken) == list(range(10))
    assert {node.node: node.workers for node in summary.nodes} == {"a": 1, "b": 3}
    assert "b failed 3 times in a row: it gets no more work" in listener.warnings
    with pytest.raises(
        DeployError, match=r"every node of the cluster failed too many times in a row, .* because no library"
    ):
        _run(Broken(nodes[1:], lambda _shard, _node: SECONDS), 10)


class FullDisk(SimulatedPool):
    """On node b, every shard fails at once."""

    def wait(self, timeout_s: float) -> list[Event]:
        return [
            Failed(event.worker, event.finished.shard, "OSError: disk full")
            if isinstance(event, ShardDone) and self._workers[event.worker].node.name == "b"
            else event
            for event in super().wait(timeout_s)
        ]


@pytest.mark.parametrize("shards", [2, 3, 40])
@pytest.mark.parametrize("room", [1, 2])
def test_a_node_on_which_everything_fails_spoils_nothing(shards: int, room: int) -> None:
    """It is quick to fail, and idle first: it must neither use up a shard's attempts, nor see every shard."""
    nodes = (SimulatedNode(name="a", room=1), SimulatedNode(name="b", room=room))
    listener = Listener()
    summary, taken = _run(FullDisk(nodes, lambda _shard, node: 100.0 if node.name == "a" else 0.1), shards, listener)
    assert sorted(taken) == list(range(shards))
    by_node = {node.node: node for node in summary.nodes}
    assert by_node["a"].shards == shards
    assert by_node["b"].retries <= 4 * room
    assert ("b failed 4 times in a row: it gets no more work" in listener.warnings) == (shards == 40 and room == 1)


def test_where_everything_fails_everywhere_the_reason_is_given() -> None:
    with pytest.raises(DeployError, match=r"stub shard \d failed 4 times, the last time because OSError: disk full"):
        _run(FullDisk([SimulatedNode(name="b", room=2)], lambda _shard, _node: 0.1), 2)
    with pytest.raises(
        DeployError, match=r"every node .* failed too many times in a row, .* because OSError: disk full"
    ):
        _run(FullDisk([SimulatedNode(name="b", room=2)], lambda _shard, _node: 0.1), 40)


class Scripted(SimulatedPool):
    """Answers the first shard with an event of the test's."""

    def __init__(self, nodes: Sequence[SimulatedNode], event: Event) -> None:
        super().__init__(nodes, lambda _shard, _node: SECONDS)
        self.event: Event | None = event

    def wait(self, timeout_s: float) -> list[Event]:
        events = super().wait(timeout_s)
        if self.event is None or not any(event for event in events if not isinstance(event, Opened)):
            return events
        event, self.event = self.event, None
        return [event, *events[1:]]


def test_an_error_about_the_input_ends_the_job_at_once() -> None:
    pool = Scripted([SimulatedNode(name="a", room=1)], Refused(0, DamagedFile("x.tar is damaged")))
    with pytest.raises(DamagedFile, match=r"x\.tar is damaged"):
        _run(pool, 10)
    assert pool.now() < 2 * SECONDS


def test_an_error_of_the_system_is_tried_again_by_the_same_worker() -> None:
    pool = Scripted([SimulatedNode(name="a", room=1)], Failed(0, 0, "OSError: no answer"))
    listener = Listener()
    summary, taken = _run(pool, 5, listener)
    assert taken == [1, 2, 3, 4, 0]
    assert (summary.total().workers, summary.total().retries) == (1, 1)
    assert listener.warnings == ["stub shard 0 failed on a (OSError: no answer): it is tried again"]


def test_what_take_raises_ends_the_job() -> None:
    def full(_finished: Finished) -> None:
        raise DeployError("the disk is full")

    job = StubJob(folder=Path(), shards=(0, 1))
    with pytest.raises(DeployError, match="the disk is full"):
        run_shards(job, _pool(SimulatedNode(name="a", room=1)), ClusterOptions(), full, Silent())
