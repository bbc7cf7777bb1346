"""How the builder's nested phases become one fraction of the whole, and how a build is cancelled."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from wrn_deploy.engines.progress import BuildProgress, run_cancellable


@pytest.fixture
def reported() -> list[int]:
    return []


def test_a_phase_inside_counts_as_one_step_of_its_parent(reported: list[int]) -> None:
    phases = BuildProgress(reported.append)
    phases.start("build", None, 4)
    assert phases.step("build")
    assert sum(reported) == 25
    phases.start("optimize", "build", 2)
    phases.step("optimize")
    assert sum(reported) == 37
    phases.start("time", "optimize", 5)
    phases.step("time")
    assert sum(reported) == 40
    phases.finish("time")
    phases.step("optimize")
    phases.finish("optimize")
    phases.step("build")
    assert sum(reported) == 50
    phases.finish("build")
    assert sum(reported) == 100


def test_the_fraction_never_falls_and_never_passes_the_whole(reported: list[int]) -> None:
    """Real builders announce phases late, report more steps than they announced, and forget to finish."""
    phases = BuildProgress(reported.append)
    phases.start("build", None, 2)
    for _ in range(5):
        phases.step("build")
        phases.step("never started")
    phases.start("late", "build", 0)
    phases.step("late")
    phases.finish("never started")
    phases.start("late", "build", 3)
    phases.finish("build")
    assert sum(reported) == 100
    assert min(reported) > 0


def test_many_threads_may_report(reported: list[int]) -> None:
    phases = BuildProgress(reported.append)
    phases.start("build", None, 4000)
    threads = [threading.Thread(target=lambda: [phases.step("build") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(reported) == 100


def test_a_cancelled_build_ends_at_its_next_step(reported: list[int]) -> None:
    phases = BuildProgress(reported.append)
    phases.start("build", None, 3)
    assert phases.step("build")
    phases.cancel()
    assert not phases.step("build")
    phases.finish("build")
    assert sum(reported) < 100


def test_work_gives_its_result_or_its_error_to_the_caller() -> None:
    assert run_cancellable(lambda: b"plan", lambda: None) == b"plan"
    assert run_cancellable(lambda: None, lambda: None) is None

    def fail() -> bytes:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        run_cancellable(fail, lambda: None)


def test_an_interrupt_waits_for_the_work_to_end_early() -> None:
    """The work stands for one long step of a builder, on whose thread no signal can be handled."""
    cancelled, ended = threading.Event(), threading.Event()

    def work() -> bytes | None:
        os.kill(os.getpid(), signal.SIGINT)
        assert cancelled.wait(10)
        ended.set()
        return None

    with pytest.raises(KeyboardInterrupt):
        run_cancellable(work, cancelled.set)
    assert ended.is_set()
