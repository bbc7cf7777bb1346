"""A candidate in its own process: its answers come back, its death is reported, and nothing of it is left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.stubs import plant
from wrn_deploy.bench.measuring import isolate
from wrn_deploy.bench.measuring.isolate import Worker
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import Precision


@pytest.fixture
def work(made_bundle: Path) -> WorkerConfig:
    return WorkerConfig(
        folder=str(made_bundle),
        backend="onnxruntime",
        precision=Precision.FP32,
        threads=1,
        data="digits",
        limit=100,
        max_corrupt=0,
        accuracy_batch=64,
    )


def children() -> set[str]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return {line for line in listed.stdout.split() if Path(f"/proc/{line}").exists()}


def test_a_worker_measures_and_answers(work: WorkerConfig, made_bundle: Path) -> None:
    with Worker(work) as worker:
        went, run_ms = worker.warm_up(2, 0.02, 1.0)
        assert went.runs > 1
        assert 0 < run_ms < 1000
        times = worker.time(4, 7)
        samples = times.host_ms
        assert len(samples) == 7
        assert times.device_ms == ()
        assert all(0 < sample < 1000 for sample in samples)
        advanced: list[int] = []
        answers = worker.ask(advanced.append)
        assert advanced == [64, 36]
        peak = worker.peak_rss_bytes()
    preprocessing = Bundle.open(made_bundle).spec.preprocessing
    with Runner.open(made_bundle, backend="onnxruntime") as runner:
        batch = next(iter(Batches(open_data("digits", Role.TEST), preprocessing, 100)))
        np.testing.assert_array_equal(answers.predicted, runner.predict(batch.images).argmax(axis=1))
        np.testing.assert_array_equal(answers.labels, batch.labels)
    assert 30 << 20 < peak < 600 << 20, "a process with ONNX Runtime and a small network"


def test_the_peak_is_the_workers_own(work: WorkerConfig) -> None:
    ballast = np.ones((64 << 20) // 8) * 6  # 64 MiB in this process, and its temporaries
    with Worker(work) as first:
        before = first.peak_rss_bytes()
        assert first.time(64, 1)
        assert first.peak_rss_bytes() > before, "64 images need more than none"
    with Worker(work) as second:
        assert abs(second.peak_rss_bytes() - before) < 20 << 20
    assert ballast[0] == 6


def test_closing_ends_the_process(work: WorkerConfig) -> None:
    before = children()
    worker = Worker(work)
    assert len(children() - before) == 1
    worker.close()
    worker.close()
    assert children() == before
    with pytest.raises(OSError, match="closed"):
        worker._connection.send("anything")


def interrupt_a_busy(work: WorkerConfig) -> None:
    with Worker(work) as worker:
        worker._connection.send(("warm_up", (1, 3600.0)))
        raise KeyboardInterrupt


def test_an_error_in_the_block_ends_a_busy_process(work: WorkerConfig) -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt):
        interrupt_a_busy(work)
    assert children() == before


def test_a_worker_that_cannot_open_says_why_and_is_gone(work: WorkerConfig, tmp_path: Path) -> None:
    before = children()
    for wrong, said in (
        (dataclasses.replace(work, folder=str(tmp_path)), "is not a bundle"),
        (dataclasses.replace(work, data="digitz"), "no data at 'digitz'"),
        (dataclasses.replace(work, backend="tensorrt", precision=Precision.FP32), "does not run fp32 here"),
    ):
        with pytest.raises(DeployError, match=said):
            Worker(wrong)
    assert children() == before


def test_a_failed_command_leaves_the_worker_at_work(work: WorkerConfig) -> None:
    with Worker(work) as worker:
        with pytest.raises(DeployError, match=r"AttributeError: .*no_such_command"):
            worker._call("no_such_command")
        assert len(worker.time(1, 2).host_ms) == 2


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_killed_worker_is_reported_by_the_name_of_the_signal(work: WorkerConfig, name: str) -> None:
    with Worker(work) as worker:
        os.kill(worker._process.pid, signal.Signals[name])
        with pytest.raises(DeployError, match=rf"its process died \({name}\)"):
            worker.time(1, 1)
        with pytest.raises(DeployError, match=name):
            worker.peak_rss_bytes()


def test_a_worker_that_dies_in_its_work_is_reported_with_its_last_words(
    work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, tmp_path / "plugins", "crasher", "print('out of luck', flush=True); os._exit(9)")
    with Worker(dataclasses.replace(work, backend="crasher")) as worker, pytest.raises(DeployError) as error:
        worker.warm_up(1, 0.01, 0.1)
    assert str(error.value) == "its process died (exit code 9): out of luck"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "EXIT_S", 0.3)


@pytest.mark.usefixtures("_impatient")
def test_a_worker_that_does_not_end_is_ended(
    work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As one whose GPU library hangs while it gives its memory back."""
    hang = "Stub.close = lambda self: time.sleep(3600)"
    plant(monkeypatch, tmp_path / "plugins", "hanging", opening=hang)
    before = children()
    with Worker(dataclasses.replace(work, backend="hanging")) as worker:
        worker.time(1, 1)
    assert children() == before


@pytest.mark.usefixtures("_impatient")
def test_a_worker_that_hangs_up_and_hangs_is_ended(
    work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, tmp_path / "plugins", "silent", "os.closerange(3, 1000); time.sleep(3600)")
    before = children()
    with Worker(dataclasses.replace(work, backend="silent")) as worker, pytest.raises(DeployError, match="SIGKILL"):
        worker.time(1, 1)
    assert children() == before


def test_whatever_a_runtime_raises_is_reported(
    work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, tmp_path / "plugins", "raiser", "raise ZeroDivisionError('inside of the runtime')")
    raised = pytest.raises(DeployError, match="ZeroDivisionError: inside of the runtime")
    with Worker(dataclasses.replace(work, backend="raiser")) as worker, raised:
        worker.time(1, 1)


def test_what_a_runtime_prints_does_not_come_out(
    work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Any
) -> None:
    plant(monkeypatch, tmp_path / "plugins", "chatty", "os.write(1, b'noise'); os.write(2, b'noise')")
    with Worker(dataclasses.replace(work, backend="chatty")) as worker:
        worker.time(1, 3)
    assert capfd.readouterr() == ("", "")


def test_modules_in_the_current_folder_are_not_imported(
    work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("numpy", "onnxruntime", "random", "html"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    with Worker(work) as worker:
        assert worker.time(1, 1).host_ms


def test_a_planted_slowdown_is_seen(work: WorkerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant(monkeypatch, tmp_path / "plugins", "slow", "time.sleep(0.005)")
    with Worker(work) as plain, Worker(dataclasses.replace(work, backend="slow")) as slow:
        plain.warm_up(1, 0.05, 0.5)
        fast_ms, slow_ms = (min(worker.time(1, 20).host_ms) for worker in (plain, slow))
    assert 4.9 < slow_ms - fast_ms < 8
