"""The GPU's own clock: it times inferences alone, each one, as a graph too, and only when it was asked for."""

from __future__ import annotations

import pytest

from tests.backends.plan.fake_gpu import FakeRuntime
from tests.backends.plan.fake_tensorrt import IMAGE_MS, FakeTensorRT
from tests.backends.plan.opened import opened, run, some_images
from wrn_deploy.backends.plan import execution
from wrn_deploy.bench.measuring.latency import measure_latency
from wrn_deploy.errors import MachineError


def test_an_inference_is_timed_from_the_first_question_on(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        run(backend, some_images(3))
        assert backend.elapsed_ms() is None
        for size in (3, 5):
            run(backend, some_images(size))
            assert backend.elapsed_ms() == pytest.approx(size * IMAGE_MS)


def test_who_asks_waits_for_the_inference(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        backend.elapsed_ms()
        backend.upload(some_images(4))
        backend.execute()
        assert backend.elapsed_ms() == pytest.approx(4 * IMAGE_MS)
        assert backend.elapsed_ms() == pytest.approx(4 * IMAGE_MS)


def test_without_a_question_there_are_no_events(trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "DeviceClock", None)
    with opened(trt) as backend:
        run(backend, some_images(3))


def test_graphs_are_timed_and_have_no_events_in_them(trt: FakeTensorRT, runtime: FakeRuntime) -> None:
    """The fake stream refuses events while it is captured."""
    with opened(trt) as backend:
        backend.elapsed_ms()
        backend.upload(some_images(2))
        for _ in range(5):
            backend.execute()
            assert backend.elapsed_ms() == pytest.approx(2 * IMAGE_MS)
        assert runtime.launches == 3
        assert trt.started == 2


def test_a_sibling_has_a_clock_of_its_own(trt: FakeTensorRT) -> None:
    with opened(trt) as backend, backend.sibling() as other:
        backend.elapsed_ms()
        run(backend, some_images(3))
        run(other, some_images(6))
        assert backend.elapsed_ms() == pytest.approx(3 * IMAGE_MS)
        assert other.elapsed_ms() is None


def test_an_inference_that_could_not_be_started_has_no_time(trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(trt) as backend:
        backend.elapsed_ms()
        run(backend, some_images(3))
        context = backend._execution._contexts[0]._context
        with monkeypatch.context() as patch:
            patch.setattr(type(context), "execute_async_v3", lambda *_: False)
            with pytest.raises(MachineError, match="could not start the inference"):
                backend.execute()
        assert backend.elapsed_ms() is None
        run(backend, some_images(3))
        assert backend.elapsed_ms() == pytest.approx(3 * IMAGE_MS)


def test_the_benchmark_has_both_clocks(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        backend.upload(some_images(4))

        def section() -> None:
            backend.execute()
            backend.synchronize()

        times = measure_latency(section, 3, backend.elapsed_ms)
    assert times.device_ms == pytest.approx((4 * IMAGE_MS,) * 3)
    assert len(times.host_ms) == 3
