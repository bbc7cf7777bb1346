"""Series of batches: copies beside inferences, in the right order; pinned memory that callers write into."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from tests.backends.plan.fake_gpu import FakeDriver, FakeRuntime, FakeStream
from tests.backends.plan.fake_tensorrt import FakeTensorRT, answer_to
from tests.backends.plan.opened import opened, run, some_images
from wrn_deploy.errors import DeployError, MachineError

Images = npt.NDArray[np.float32]


def batches_of(sizes: tuple[int, ...]) -> list[Images]:
    return [some_images(size, 100 + seed) for seed, size in enumerate(sizes)]


@pytest.mark.parametrize("sizes", [(), (3,), (3, 3), (6,) * 7, (1, 6, 2, 5, 5, 1, 6, 6, 3, 4)])
def test_every_batch_gets_its_own_answer(
    runtime: FakeRuntime, driver: FakeDriver, trt: FakeTensorRT, sizes: tuple[int, ...]
) -> None:
    """The fake driver does work only when somebody waits for it, in the order that events demand and no other."""
    theirs = object()
    driver.stack.append(theirs)
    given = batches_of(sizes)
    with opened(trt) as backend:
        for _ in range(3):  # with graphs too
            found = []
            for (outputs,) in backend.infer_each(given):
                assert driver.stack == [theirs], "the GPU's context is left current"
                found.append(outputs)
            assert len(found) == len(given)
            for batch, answer in zip(given, found, strict=True):
                np.testing.assert_allclose(answer, answer_to(batch, 5), rtol=1e-5)
        assert (runtime.launches > 0) == bool(sizes)
    assert (runtime.graphs, driver.memory) == ([], {})


def test_batches_are_copied_before_the_answer_to_an_earlier_one_is_waited_for(
    driver: FakeDriver, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What overlaps, by the order of the driver's calls: the next copy, on another stream, comes before the wait."""
    calls: list[str] = []
    streams: dict[int, int] = {}
    copy_in, copy_out = driver.memcpy_htod_async, driver.memcpy_dtoh_async

    def number(stream: FakeStream) -> int:
        return streams.setdefault(stream.handle, len(streams))

    def to_gpu(target: object, source: object, stream: FakeStream) -> None:
        calls.append(f"in {number(stream)}")
        copy_in(target, source, stream)  # type: ignore[arg-type]

    def to_host(target: object, source: object, stream: FakeStream) -> None:
        calls.append(f"out {number(stream)}")
        copy_out(target, source, stream)  # type: ignore[arg-type]

    monkeypatch.setattr(driver, "memcpy_htod_async", to_gpu)
    monkeypatch.setattr(driver, "memcpy_dtoh_async", to_host)
    with opened(trt) as backend:
        for _outputs in backend.infer_each(batches_of((6,) * 4)):
            calls.append("answer")
    assert calls == [
        *("in 0", "out 1", "in 0", "out 1"),
        *("in 0", "out 1", "answer"),
        *("in 0", "out 1", "answer"),
        *("answer", "answer"),
    ]
    assert len(streams) == 2, "copies to and from the GPU have a stream each"


def test_an_abandoned_series_leaves_the_backend_usable(runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        for _outputs in backend.infer_each(batches_of((6,) * 5)):
            break
        for seed in range(4):
            batch = some_images(6, seed)
            np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)
    assert runtime.graphs == []


def test_a_failure_among_the_batches_is_passed_on(trt: FakeTensorRT) -> None:
    def batches() -> Iterator[Images]:
        yield some_images(6)
        yield some_images(7)

    with opened(trt) as backend:
        with pytest.raises(DeployError, match="a batch of 7 is outside the plan's profile"):
            list(backend.infer_each(batches()))
        batch = some_images(6, 5)
        np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)
        list(backend.infer_each([batch]))
        with pytest.raises(DeployError, match="upload one first"):
            backend.execute()


def test_a_slot_is_copied_from_directly(driver: FakeDriver, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[int] = []
    copy_in = driver.memcpy_htod_async

    def to_gpu(target: object, source: npt.NDArray[np.float32], stream: FakeStream) -> None:
        sources.append(source.ctypes.data)
        copy_in(target, source, stream)  # type: ignore[arg-type]

    monkeypatch.setattr(driver, "memcpy_htod_async", to_gpu)
    batch = some_images(6, 1)
    with opened(trt) as backend:
        with backend.slot(6) as images:
            assert (images.shape, str(images.dtype)) == ((6, 3, 4, 4), "float32")
            images[:] = batch
            first = images.ctypes.data
            np.testing.assert_allclose(run(backend, images), answer_to(batch, 5), rtol=1e-5)
            np.testing.assert_allclose(run(backend, images[2:5]), answer_to(batch[2:5], 5), rtol=1e-5)
            answers = [outputs[0] for outputs in backend.infer_each([images[:2], images[2:4], images[4:]])]
            np.testing.assert_allclose(np.concatenate(answers), answer_to(batch, 5), rtol=1e-5)
            assert sources == [first + 192 * start for start in (0, 2, 0, 2, 4)]
            sources.clear()
            np.testing.assert_allclose(run(backend, images[::2]), answer_to(batch[::2], 5), rtol=1e-5)
            run(backend, batch)
            assert first not in sources, "neither is a part in C order"
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0
        with backend.slot(4) as images:
            assert images.ctypes.data == first, "the block is lent again"
            with backend.slot(4) as others:
                assert others.ctypes.data != first
        with backend.slot(7):
            pass  # in the place of one that is too small
        assert len(backend._engine.pinned._ranges) == 2
    with pytest.raises(DeployError, match="this backend is closed"):
        backend.slot(1)


def test_a_slot_outlives_its_backend(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    with backend.slot(3) as images:
        backend.close()
        images[:] = 1
    del images
    assert not [line for line in driver.log if line.startswith("leaked")]


def test_threads_have_slots_of_their_own(trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        failed: list[int] = []

        def work(number: int) -> None:
            for _ in range(50):
                with backend.slot(1 + number) as images:
                    images[:] = number
                    if not (images == number).all():
                        failed.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


def test_a_gpu_that_fails_in_a_series_can_be_closed(driver: FakeDriver, trt: FakeTensorRT) -> None:
    backend = opened(trt)
    series = backend.infer_each(batches_of((6,) * 4))
    next(series)
    driver.failing = "cuMemcpyHtoDAsync failed: an illegal memory access was encountered"
    with pytest.raises(MachineError, match="lost the GPU"):
        next(series)
    backend.close()
    assert driver.stack == []
    driver.failing = None
