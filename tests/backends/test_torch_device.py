"""PyTorch's copies, graphs and clock on a GPU, on a CPU that plays one: what is called, and in which order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from wrn_deploy.backends.pytorch import device as module
from wrn_deploy.backends.pytorch.device import CudaDevice
from wrn_deploy.errors import MachineError


class Gpu:
    """Stands in for `torch.cuda`: everything happens at once, and is noted."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.taken: list[tuple[str, tuple[int, ...]]] = []
        self.capturing: list[Any] | None = None
        self.refuses = False
        gpu = self

        class Stream:
            def wait_stream(self, _other: object) -> None:
                gpu.calls.append("wait")

            def synchronize(self) -> None:
                gpu.calls.append("synchronize")

        class Event:
            def __init__(self, *, enable_timing: bool) -> None:
                assert enable_timing

            def record(self, _stream: Stream) -> None:
                gpu.calls.append("mark")

            def elapsed_time(self, _end: Event) -> float:
                return 2.5

        class CUDAGraph:
            def replay(self) -> None:
                gpu.calls.append("replay")
                for work in self.works:
                    work()

            works: Sequence[Any] = ()

        @contextlib.contextmanager
        def graph(made: CUDAGraph, *, stream: Stream, capture_error_mode: str) -> Iterator[None]:
            assert isinstance(stream, Stream)
            assert capture_error_mode == "thread_local"
            gpu.calls.append("capture")
            if gpu.refuses:
                raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
            gpu.capturing = []
            yield
            made.works, gpu.capturing = gpu.capturing, None

        self.Stream, self.Event, self.CUDAGraph, self.graph = Stream, Event, CUDAGraph, graph

    def default_stream(self) -> object:
        return object()

    def stream(self, _stream: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def take(self, place: str) -> Any:
        def make(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
            self.taken.append((place, tuple(shape)))
            return torch.zeros(tuple(shape), dtype=dtype)

        return make


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu()
    for name in ("Stream", "Event", "CUDAGraph", "graph", "default_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(made, name))
    monkeypatch.setattr(module, "_pinned", made.take("pinned"))
    monkeypatch.setattr(module, "_on_gpu", made.take("gpu"))
    return made


def doubling(gpu: Gpu, calls: list[int]) -> Any:
    """A network whose work can be captured, as a GPU does it: computed again from the same places."""

    def network(images: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(len(images))
        result = torch.empty_like(images)

        def work() -> None:
            result.copy_(images * 2)

        if gpu.capturing is None:
            work()
        else:
            gpu.capturing.append(work)
        return (result,)

    return network


def batch(size: int, value: float) -> np.ndarray[Any, Any]:
    return np.full((size, 3), value, np.float32)


def test_copies_go_through_memory_that_is_kept(gpu: Gpu) -> None:
    device, network = CudaDevice(), doubling(gpu, [])
    for value in (1.0, 2.0):
        (answer,) = device.download(device.run(network, device.upload(batch(4, value))))
        assert answer.tolist() == [[2 * value] * 3] * 4
        answer[:] = 0
    assert gpu.taken == [("pinned", (4, 3)), ("gpu", (4, 3)), ("pinned", (4, 3))]
    device.upload(batch(2, 1.0))
    device.upload(batch(4, 1.0))
    assert gpu.taken[3:] == [("pinned", (2, 3)), ("gpu", (2, 3)), ("pinned", (4, 3)), ("gpu", (4, 3))]


def test_the_pinned_memory_is_written_after_the_copy_that_reads_it(gpu: Gpu) -> None:
    device = CudaDevice()
    device.upload(batch(1, 1.0))
    gpu.calls.clear()
    device.upload(batch(1, 2.0))
    assert gpu.calls == ["synchronize"]


def test_arrays_that_cannot_be_written_to_or_run_backwards_can_be_uploaded(gpu: Gpu) -> None:
    device, images = CudaDevice(), np.arange(6, dtype=np.float32).reshape(2, 3)
    images.flags.writeable = False
    assert device.upload(images[::-1]).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert gpu.taken[0] == ("pinned", (2, 3))


def test_a_graph_runs_from_the_second_inference_of_a_size_on(gpu: Gpu) -> None:
    calls: list[int] = []
    device, network = CudaDevice(graphs=True), doubling(gpu, calls)
    for size, value in ((2, 1.0), (2, 3.0), (1, 5.0), (2, 7.0), (1, 9.0)):
        (answer,) = device.download(device.run(network, device.upload(batch(size, value))))
        assert answer.tolist() == [[2 * value] * 3] * size
    assert calls == [2, 2, 1, 1], "each size once by itself, and once while it is captured"
    assert [call for call in gpu.calls if call in ("capture", "replay")] == [
        "capture", "replay", "capture", "replay", "replay"
    ]  # fmt: skip


def test_without_graphs_nothing_is_captured(gpu: Gpu) -> None:
    calls: list[int] = []
    device, network = CudaDevice(), doubling(gpu, calls)
    images = device.upload(batch(1, 1.0))
    for _ in range(3):
        device.run(network, images)
    assert calls == [1, 1, 1]
    assert "capture" not in gpu.calls


def test_a_network_that_cannot_be_captured_is_an_error_of_one_line(gpu: Gpu) -> None:
    device = CudaDevice(graphs=True)
    gpu.refuses = True
    with pytest.raises(MachineError, match=r"cannot capture .* \(CUDA error: operation .* capturing\): run it without"):
        device.run(doubling(gpu, []), device.upload(batch(1, 1.0)))


@pytest.mark.parametrize("graphs", [False, True])
def test_the_clock_times_the_inference_and_not_the_capture(gpu: Gpu, graphs: bool) -> None:
    device, network = CudaDevice(graphs=graphs), doubling(gpu, [])
    assert device.elapsed_ms() is None
    images = device.upload(batch(1, 1.0))
    gpu.calls.clear()
    device.run(network, images)
    assert gpu.calls == ["mark", "mark", *(["capture"] if graphs else [])]
    assert device.elapsed_ms() == 2.5


def test_closing_gives_the_memory_up_when_the_gpu_is_done(gpu: Gpu) -> None:
    device = CudaDevice(graphs=True)
    device.download(device.run(doubling(gpu, []), device.upload(batch(1, 1.0))))
    gpu.calls.clear()
    device.close()
    assert gpu.calls == ["synchronize"]
    assert (device._graphs, device._images, device._pinned) == ({}, {}, [])


@pytest.mark.usefixtures("gpu")
def test_cudnn_stays_on_and_tf32_off_and_no_inference_changes_that(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("enabled", True), ("benchmark", False), ("allow_tf32", True)):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    module._choose_kernels.cache_clear()
    for _ in range(2):
        CudaDevice()
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
