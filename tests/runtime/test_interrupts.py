"""A call that is interrupted at any moment gives its context back: none waits for ever or gets another's numbers."""

from __future__ import annotations

import ctypes
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from wrn_deploy import Runner
from wrn_deploy.runtime.backend import Backend
from wrn_deploy.runtime.pool import Pool

WAIT = 10.0  # seconds, for what happens at once


class HandlersOwn(BaseException):
    """What a signal handler of the caller raises, such as a timeout of its own."""


RAISED = (KeyboardInterrupt, HandlersOwn, ValueError)


class Sibling:
    """A backend that notices two calls at the same time."""

    def __init__(self) -> None:
        self.thread = 0

    def sibling(self) -> Sibling:
        return Sibling()

    def close(self) -> None:
        pass

    def use(self) -> None:
        me = threading.get_ident()
        self.thread = me
        for _ in range(20):
            assert self.thread == me, "two calls use one context"


@pytest.fixture
def dice() -> Iterator[random.Random]:
    """Random numbers; SIGALRM raises one of RAISED meanwhile."""
    made = random.Random(0)

    def interrupt(*_signal: object) -> None:
        raise made.choice(RAISED)

    before = signal.signal(signal.SIGALRM, interrupt)
    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupt_calls(call: Callable[[], object], dice: random.Random, *, times: int, within_s: float) -> None:
    """Calls until N interrupts have hit the call, each after a random time."""
    done = 0
    while done < times:
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, max(1e-6, dice.random() * within_s))
                while True:
                    call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except RAISED:
            done += 1


def interrupt_threads(threads: list[threading.Thread], dice: random.Random, until: threading.Event) -> None:
    """As a debugger or a library that cancels threads does."""
    while not until.wait(dice.random() * 1e-3):
        for thread in threads:
            kind = ctypes.py_object(dice.choice(RAISED))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), kind)


def start_callers(call: Callable[[], object], count: int, until: threading.Event, errors: list[str]) -> list[Any]:
    def work() -> None:
        while not until.is_set():
            try:
                while not until.is_set():
                    try:
                        call()
                    except RAISED:
                        continue
            except RAISED:
                continue
            except BaseException as error:  # noqa: BLE001 (each is counted)
                errors.append(repr(error))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def check_all_free(pool: Pool) -> None:
    """All contexts can be used at once, and the pool closes."""
    together, found = threading.Barrier(pool.size), list[Backend]()

    def use(backend: Backend) -> None:
        together.wait(WAIT)
        found.append(backend)

    threads = [threading.Thread(target=pool.call, args=(use,), daemon=True) for _ in range(pool.size)]
    closing = threading.Thread(target=pool.close, daemon=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len({id(backend) for backend in found}) == pool.size, "a context was lost"
    closing.start()
    closing.join(WAIT)
    assert not closing.is_alive(), "closing waits for ever"


@pytest.mark.parametrize("size", [1, 3])
def test_a_pool_loses_no_context(dice: random.Random, size: int) -> None:
    pool = Pool(cast("Backend", Sibling()), size)
    until, errors = threading.Event(), list[str]()
    call = lambda: pool.call(lambda backend: cast("Sibling", backend).use())  # noqa: E731
    threads = start_callers(call, 3, until, errors)
    canceller = threading.Thread(target=interrupt_threads, args=(threads, random.Random(1), until), daemon=True)
    canceller.start()
    interrupt_calls(call, dice, times=10_000, within_s=60e-6)
    until.set()
    canceller.join(WAIT)
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a call waits for ever"
    assert errors == []
    check_all_free(pool)


def test_a_runner_loses_no_context_and_mixes_no_answers(made_bundle: Path, dice: random.Random) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    runner = Runner.open(made_bundle, backend="onnxruntime", precision="int8", threads=1, contexts=2)
    wanted = runner.predict(images)

    def call() -> None:
        np.testing.assert_array_equal(runner.predict(images), wanted)

    start = time.perf_counter()
    call()
    long = time.perf_counter() - start
    until, errors = threading.Event(), list[str]()
    threads = start_callers(call, 3, until, errors)
    interrupt_calls(call, dice, times=200, within_s=3 * long)
    until.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a call waits for ever"
    assert errors == []
    check_all_free(runner._pool)


def test_what_a_handler_raises_stays_what_it_is(made_bundle: Path, dice: random.Random) -> None:
    """The backend does not take it for an error of the library."""
    images = np.zeros((64, 32, 32, 3), np.uint8)
    with Runner.open(made_bundle, backend="onnxruntime", precision="fp32", threads=1, contexts=1) as runner:
        interrupt_calls(lambda: runner.predict(images), dice, times=60, within_s=20e-3)


def test_closing_can_be_interrupted_and_done_again() -> None:
    pool = Pool(cast("Backend", Sibling()), 1)
    entered, leave = threading.Event(), threading.Event()

    def stay(_backend: Backend) -> None:
        entered.set()
        leave.wait(WAIT)

    lent = threading.Thread(target=pool.call, args=(stay,))
    lent.start()
    entered.wait(WAIT)

    def interrupt(*_signal: object) -> None:
        raise HandlersOwn

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(HandlersOwn):
            pool.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    leave.set()
    lent.join(WAIT)
    pool.close()
    assert not pool._contexts
