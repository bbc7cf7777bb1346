"""The pool: how many siblings it makes, who waits, and what closing does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.runtime.backend import Backend
from wrn_deploy.runtime.pool import Pool

WAIT = 5.0  # seconds, for what happens at once


class Sibling:
    """Counts itself; `broken` keeps further ones from being made."""

    def __init__(self, family: list[Sibling]) -> None:
        self.family = family
        self.closed = 0
        self.broken = False
        family.append(self)

    def sibling(self) -> Sibling:
        if self.broken:
            raise MachineError("no memory for another")
        return Sibling(self.family)

    def close(self) -> None:
        self.closed += 1


def pool_of(size: int) -> tuple[Pool, list[Sibling]]:
    family: list[Sibling] = []
    return Pool(cast("Backend", Sibling(family)), size), family


def staying(entered: threading.Event, leave: threading.Event) -> Callable[[Backend], None]:
    """Work that keeps its context until it may leave."""

    def stay(_backend: Backend) -> None:
        entered.set()
        leave.wait(WAIT)

    return stay


def test_one_thread_uses_one() -> None:
    pool, family = pool_of(3)
    for _ in range(5):
        assert pool.call(lambda backend: backend) is cast("Any", family[0])
    assert len(family) == 1


def test_threads_that_come_together_get_their_own_up_to_the_size() -> None:
    pool, family = pool_of(2)
    leave = threading.Event()
    together = threading.Barrier(3)
    got: list[Backend] = []

    def stay(backend: Backend) -> None:
        got.append(backend)
        together.wait(WAIT)
        leave.wait(WAIT)

    threads = [threading.Thread(target=pool.call, args=(stay,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    together.wait(WAIT)
    waiting = threading.Thread(target=pool.call, args=(got.append,))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive(), "a third was made"
    leave.set()
    for thread in (*threads, waiting):
        thread.join(WAIT)
    assert len(family) == 2
    assert {id(backend) for backend in got[:2]} == {id(sibling) for sibling in family}
    assert len(got) == 3
    assert got[2] in got[:2]


def test_one_that_failed_is_lent_again() -> None:
    pool, family = pool_of(1)
    with pytest.raises(ZeroDivisionError):
        pool.call(lambda _backend: 1 / 0)
    assert pool.call(lambda backend: backend) is cast("Any", family[0])


def test_a_sibling_that_cannot_be_made_costs_its_caller_alone() -> None:
    pool, family = pool_of(2)

    def within(_backend: Backend) -> None:
        family[0].broken = True
        with pytest.raises(MachineError, match="no memory"):
            pool.call(lambda _other: None)
        family[0].broken = False
        assert pool.call(lambda other: other) is cast("Any", family[1])

    pool.call(within)


def test_calling_each_makes_all_and_waits_for_those_that_are_lent() -> None:
    pool, family = pool_of(3)
    order: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def stay(_backend: Backend) -> None:
        entered.set()
        leave.wait(WAIT)
        order.append("left")

    lent = threading.Thread(target=pool.call, args=(stay,))
    lent.start()
    entered.wait(WAIT)
    warming = threading.Thread(target=pool.call_each, args=(lambda _backend: order.append("each"),))
    warming.start()
    warming.join(0.2)
    assert order == []
    leave.set()
    lent.join(WAIT)
    warming.join(WAIT)
    assert order == ["left", "each", "each", "each"]
    assert len(family) == 3


def test_closing_waits_for_those_that_are_lent_and_closes_each_once() -> None:
    pool, family = pool_of(2)
    entered, leave = threading.Event(), threading.Event()
    lent = threading.Thread(target=pool.call, args=(staying(entered, leave),))
    lent.start()
    entered.wait(WAIT)
    closing = threading.Thread(target=pool.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    assert family[0].closed == 0
    with pytest.raises(UsageError, match="this runner is closed"):
        pool.call(lambda _backend: None)
    leave.set()
    for thread in (closing, lent):
        thread.join(WAIT)
    pool.close()
    assert [sibling.closed for sibling in family] == [1]


def test_who_waits_while_it_is_closed_is_told() -> None:
    pool, _ = pool_of(1)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            pool.call(lambda _backend: outcomes.append("lent"))
        except UsageError as error:
            outcomes.append(str(error))

    entered, leave = threading.Event(), threading.Event()
    lent = threading.Thread(target=pool.call, args=(staying(entered, leave),))
    lent.start()
    entered.wait(WAIT)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    closing = threading.Thread(target=pool.close)
    closing.start()
    for thread in threads:
        thread.join(WAIT)
    assert outcomes == ["this runner is closed: open the bundle again"] * 3
    leave.set()
    for thread in (closing, lent):
        thread.join(WAIT)
        assert not thread.is_alive()


def test_a_thread_that_would_wait_for_itself_is_told() -> None:
    """As a signal handler does that closes the runner, or calls it, while this thread is within a call."""
    pool, family = pool_of(1)

    def within(_backend: Backend) -> None:
        with pytest.raises(
            UsageError, match=r"this thread is within a call of this runner, .*: close it after the call"
        ):
            pool.close()
        with pytest.raises(UsageError, match=r"within a call of this runner, .*: warm it up after the call"):
            pool.call_each(lambda _backend: None)
        with pytest.raises(UsageError, match=r"this thread is within 1 call of this runner, .* waits for itself"):
            pool.call(lambda _backend: None)

    pool.call(within)
    pool.call_each(within)
    pool.call(lambda _backend: None)
    pool.close()
    assert family[0].closed == 1
