"""Threads are moved by chance, are free afterwards, and those that a runtime has bound stay bound."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from wrn_deploy.bench.measuring.worker import shuffle_threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of threads")
def test_threads_are_moved_and_let_go_and_bound_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one core")
    numbers: dict[str, int] = {}
    ready, done = threading.Barrier(3), threading.Event()

    def live(name: str, bound: bool) -> None:
        numbers[name] = threading.get_native_id()
        if bound:
            os.sched_setaffinity(0, {min(allowed)})
        ready.wait(10)
        done.wait(10)

    threads = [threading.Thread(target=live, args=arguments) for arguments in (("free", False), ("bound", True))]
    for thread in threads:
        thread.start()
    ready.wait(10)
    moved: list[tuple[int, set[int]]] = []
    real = os.sched_setaffinity

    def note(thread: int, cores: set[int]) -> None:
        moved.append((thread, cores))
        real(thread, cores)

    monkeypatch.setattr(os, "sched_setaffinity", note)
    try:
        shuffle_threads(random.Random(0))
        assert os.sched_getaffinity(numbers["free"]) == allowed
        assert os.sched_getaffinity(numbers["bound"]) == {min(allowed)}
    finally:
        done.set()
        for thread in threads:
            thread.join()
    of_free = [cores for thread, cores in moved if thread == numbers["free"]]
    assert [len(cores) for cores in of_free] == [1, len(allowed)]
    assert numbers["bound"] not in {thread for thread, _ in moved}


def test_it_does_nothing_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(Path, "iterdir", lambda _: pytest.fail("the threads were looked at"))
    shuffle_threads(random.Random(0))
