"""The pool: how many siblings it makes, who waits, and what closing does."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from wrn_deploy.errors import DeployError, MachineError
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


def test_one_thread_uses_one() -> None:
    pool, family = pool_of(3)
    for _ in range(5):
        with pool.lend() as lent:
            assert lent is cast("Any", family[0])
    assert len(family) == 1


def test_threads_that_come_together_get_their_own_up_to_the_size() -> None:
    pool, family = pool_of(2)
    with pool.lend() as first, pool.lend() as second:
        assert first is not second
        got: list[Backend] = []
        waiting = threading.Thread(target=lambda: got.append(pool.lend().__enter__()))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive(), "a third was made"
    waiting.join(WAIT)
    assert len(family) == 2
    assert got[0] in (first, second)


def test_one_that_failed_is_lent_again() -> None:
    pool, family = pool_of(1)
    with pytest.raises(ZeroDivisionError), pool.lend():
        _ = 1 / 0
    with pool.lend() as lent:
        assert lent is cast("Any", family[0])


def test_a_sibling_that_cannot_be_made_costs_its_caller_alone() -> None:
    pool, family = pool_of(2)
    with pool.lend():
        family[0].broken = True
        with pytest.raises(MachineError, match="no memory"), pool.lend():
            pass
        family[0].broken = False
        with pool.lend() as second:
            assert second is cast("Any", family[1])


def test_filling_makes_all() -> None:
    pool, family = pool_of(3)
    assert len(pool.fill()) == len(family) == 3
    assert len(pool.fill()) == 3


def test_closing_waits_for_those_that_are_lent_and_closes_each_once() -> None:
    pool, family = pool_of(2)
    with pool.lend():
        closing = threading.Thread(target=pool.close)
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
        assert family[0].closed == 0
        with pytest.raises(DeployError, match="this runner is closed"), pool.lend():
            pass
    closing.join(WAIT)
    pool.close()
    assert [sibling.closed for sibling in family] == [1]


def test_who_waits_while_it_is_closed_is_told() -> None:
    pool, _ = pool_of(1)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            with pool.lend():
                outcomes.append("lent")
        except DeployError as error:
            outcomes.append(str(error))

    with pool.lend():
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        closing = threading.Thread(target=pool.close)
        closing.start()
        for thread in threads:
            thread.join(WAIT)
    closing.join(WAIT)
    assert len(outcomes) == 3
    assert all(text.startswith("this runner is closed") for text in outcomes)
