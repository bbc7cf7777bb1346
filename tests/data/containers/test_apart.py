"""A reader in a process of its own: what it yields, what it raises, and how it may end."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wrn_deploy.data.containers.apart import Apart
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import raised


def count(most: int) -> Iterator[tuple[int, int]]:
    for number in range(most):
        yield number, os.getpid()


def fail() -> Iterator[int]:
    yield from range(100)
    raise DeployError("this is wrong")


def blunder() -> Iterator[int]:
    yield 1
    raise ZeroDivisionError("a bug")


def crash() -> Iterator[int]:
    yield from range(64)
    yield len(ctypes.string_at(0))


def stall() -> Iterator[int]:
    time.sleep(600)
    yield 1


def take(size: int) -> Iterator[int]:
    yield len(bytes(size))


@pytest.fixture
def apart(tmp_path: Path) -> Apart:
    (tmp_path / "x.parquet").write_bytes(b"content")
    return Apart(tmp_path / "x.parquet")


def test_it_yields_all_from_one_other_process(apart: Apart) -> None:
    first, second = list(apart.stream(count, 1000)), list(apart.stream(count, 64))
    assert [number for number, _ in first] == [*range(1000)]
    (process,) = {process for _, process in first + second}
    assert process != os.getpid()


def test_streams_at_the_same_time_and_those_left_early_do_not_disturb_others(apart: Apart) -> None:
    assert all(
        one[0] == other[0] for one, other in zip(apart.stream(count, 300), apart.stream(count, 300), strict=True)
    )
    for _ in range(3):
        assert next(apart.stream(count, 10_000))[0] == 0
    assert len(list(apart.stream(count, 200))) == 200


def test_errors_come_at_their_place(apart: Apart) -> None:
    stream = apart.stream(fail)
    assert [next(stream) for _ in range(100)] == [*range(100)]
    with pytest.raises(DeployError, match=r"^this is wrong$"):
        next(stream)
    with pytest.raises(DamagedFile, match="ZeroDivisionError: a bug"):
        list(apart.stream(blunder))
    assert len(list(apart.stream(count, 3))) == 3


def test_a_crash_is_an_error_that_names_the_file(apart: Apart) -> None:
    with pytest.raises(DamagedFile, match=r"x\.parquet crashed the process that read it \(SIGSEGV\)"):
        list(apart.stream(crash))
    assert len(list(apart.stream(count, 3))) == 3


def test_what_takes_too_long_is_ended(apart: Apart) -> None:
    with raised("seconds=1"), pytest.raises(DamagedFile, match=r"\(SIGALRM; the limit is seconds=1\)"):
        list(apart.stream(stall))


def test_memory_is_limited_by_the_size_of_the_file(apart: Apart) -> None:
    assert list(apart.stream(take, 50 * 2**20)) == [50 * 2**20]
    with pytest.raises(DamagedFile, match="MemoryError"):
        list(apart.stream(take, 2**30))


def test_its_process_ends_with_it(apart: Apart) -> None:
    ((_, process),) = apart.stream(count, 1)
    apart._end()
    for _ in range(100):
        if not Path(f"/proc/{process}").exists():
            break
        threading.Event().wait(0.05)
    assert not Path(f"/proc/{process}").exists()
