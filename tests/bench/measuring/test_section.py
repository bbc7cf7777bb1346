"""What a run takes in, at each boundary and on several streams."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from wrn_deploy.bench.measuring.latency import section_of
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.runtime.backend import Backend

BATCH = np.zeros((2, 3, 4, 4), dtype=np.float32)


class Recorder:
    """A backend that records its calls; `meeting` makes inferences wait for each other."""

    infer = Backend.infer

    def __init__(self, meeting: threading.Barrier | None = None) -> None:
        self.calls: list[str] = []
        self.meeting = meeting

    def upload(self, batch: Any) -> None:
        assert batch is BATCH
        self.calls.append("upload")

    def execute(self) -> None:
        if self.meeting is not None:
            self.meeting.wait(10)
        self.calls.append("execute")

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def download(self) -> tuple[Any, ...]:
        self.calls.append("download")
        return (np.zeros((2, 10), np.float32),)


INSIDE = {
    Boundary.COMPUTE: ["execute", "synchronize"],
    Boundary.TRANSFER: ["upload", "execute", "synchronize", "download"],
    Boundary.E2E: ["prepare", "upload", "execute", "synchronize", "download"],
}


@pytest.mark.parametrize("boundary", Boundary)
def test_a_run_has_what_its_boundary_says(boundary: Boundary) -> None:
    recorder = Recorder()

    def prepare() -> Any:
        recorder.calls.append("prepare")
        return BATCH

    with ThreadPoolExecutor(1) as pool:
        section = section_of([cast("Backend", recorder)], boundary, prepare, pool)
        assert recorder.calls == ["prepare", "upload"], "before the clock starts"
        recorder.calls.clear()
        section()
    assert recorder.calls == INSIDE[boundary]
    assert boundary.meaning


def test_a_run_on_several_streams_is_one_of_each_at_the_same_time() -> None:
    meeting = threading.Barrier(3)
    recorders = [Recorder(meeting) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        section = section_of([cast("Backend", one) for one in recorders], Boundary.COMPUTE, lambda: BATCH, pool)
        section()
        section()
    assert all(one.calls == ["upload", *INSIDE[Boundary.COMPUTE] * 2] for one in recorders)


def test_an_error_on_one_stream_is_the_runs() -> None:
    broken = Recorder()
    broken.execute = lambda: 1 / 0  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(2) as pool:
        backends = [cast("Backend", one) for one in (Recorder(), broken)]
        section = section_of(backends, Boundary.COMPUTE, lambda: BATCH, pool)
        with pytest.raises(ZeroDivisionError):
            section()
