"""Which worker gets which shard, and who is blamed when one is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.stub_jobs import StubJob
from wrn_deploy.cluster.schedule import Schedule
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError


def _schedule(shards: int, *, retries: int = 1, timeout_s: float | None = None) -> Schedule:
    job = StubJob(folder=Path(), shards=tuple(range(shards)))
    return Schedule(job, retries=retries, shard_timeout_s=timeout_s)


def _done(shard: int) -> Finished:
    return Finished(shard=shard, images=1, seconds=1.0)


def test_a_worker_has_one_shard_at_a_time() -> None:
    schedule = _schedule(3)
    schedule.add(1, "a")
    schedule.add(2, "a")
    assert schedule.assign(0.0) == [(1, 0), (2, 1)]
    assert schedule.assign(0.0) == []
    assert schedule.finish(2, _done(1))
    assert schedule.assign(1.0) == [(2, 2)]


def test_the_shard_of_a_lost_worker_is_blamed() -> None:
    schedule = _schedule(6, retries=0)
    schedule.add(1, "a")
    assert schedule.assign(0.0) == [(1, 0)]
    schedule.finish(1, _done(0))
    assert schedule.assign(0.0) == [(1, 1)]
    with pytest.raises(DeployError, match=r"stub shard 1 failed once, the last time because it was killed"):
        schedule.lose(1, "it was killed")


def test_a_lost_shard_comes_after_all_others() -> None:
    schedule = _schedule(4)
    schedule.add(1, "a")
    assert schedule.assign(0.0) == [(1, 0)]
    assert schedule.lose(1, "it died") == 0
    schedule.add(2, "a")
    order = []
    while schedule.left:
        for worker, shard in schedule.assign(0.0):
            order.append(shard)
            schedule.finish(worker, _done(shard))
    assert order == [1, 2, 3, 0]


def test_a_worker_without_a_shard_takes_none_along() -> None:
    schedule = _schedule(1)
    schedule.add(1, "a")
    assert schedule.lose(1, "it died") is None
    assert schedule.lose(7, "it never opened") is None
    assert schedule.left == 1
    assert schedule.assign(0.0) == []


def test_the_time_limit_counts_from_when_a_shard_begins() -> None:
    schedule = _schedule(5, timeout_s=10.0)
    schedule.add(1, "a")
    assert schedule.assign(0.0) == [(1, 0)]
    assert schedule.overdue(9.0) == []
    schedule.finish(1, _done(0))
    assert schedule.assign(9.0) == [(1, 1)]
    assert schedule.overdue(18.0) == [], "the second one has had 9 seconds"
    assert schedule.overdue(19.5) == [1]


def test_a_result_that_comes_twice_counts_once() -> None:
    schedule = _schedule(2)
    schedule.add(1, "a")
    schedule.assign(0.0)
    assert schedule.finish(1, _done(0))
    assert not schedule.finish(1, _done(0))
    assert schedule.left == 1
    assert schedule.assign(0.0) == [(1, 1)]
    assert schedule.assign(0.0) == [], "it is idle once"


@given(
    st.integers(1, 40), st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["done", "fail", "lose"])), max_size=120)
)
def test_no_shard_is_lost_or_with_two_workers(shards: int, moves: list[tuple[int, str]]) -> None:
    schedule = _schedule(shards, retries=1000)
    busy: dict[int, int] = {}
    done = set[int]()
    for worker in range(4):
        schedule.add(worker, "a")
    for worker, move in [*moves, *((n, "done") for _ in range(shards + 1) for n in range(4))]:
        for to, shard in schedule.assign(0.0):
            assert to not in busy
            busy[to] = shard
        assert len({*busy.values()}) == len(busy)
        assert not done & {*busy.values()}
        if worker not in busy:
            continue
        shard = busy.pop(worker)
        if move == "done":
            done.add(shard)
            assert schedule.finish(worker, _done(shard))
        elif move == "fail":
            schedule.fail(worker, shard, "no reason")
        else:
            assert schedule.lose(worker, "no reason") == shard
            schedule.add(worker, "a")
    assert schedule.left == shards - len(done) == 0
