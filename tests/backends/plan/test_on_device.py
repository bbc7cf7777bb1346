"""Arrays of the caller's on the GPU: no copy, in the order of the caller's stream, refused where they do not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.backends.plan.fake_gpu import Allocation, FakeDriver, FakeRuntime, FakeStream
from tests.backends.plan.fake_tensorrt import FakeTensorRT, Tensor, answer_to
from tests.backends.plan.opened import opened, run, some_images
from wrn_deploy.backends.plan import execution
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.backend import DeviceBackend
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.runtime.on_device import predict_on_device
from wrn_deploy.runtime.pool import Pool


class Caller:
    """Somebody else in the same process, with a stream and arrays on the GPU."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        driver.stack.append(self)
        self.stream = FakeStream(driver, 1)

    def memory(self, shape: tuple[int, ...], dtype: str = "float32", gap: int = 0) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return GpuArray(Allocation(self.driver, gap + size), shape, dtype, gap)

    def written(self, images: npt.NDArray[Any], stream: FakeStream | None = None) -> Any:
        """An array whose contents the stream has yet to write."""
        found = self.memory(images.shape, str(images.dtype))
        kept = images.copy()
        (stream or self.stream).push(lambda: found.fill(kept))
        return found


class GpuArray:
    def __init__(self, allocation: Allocation, shape: tuple[int, ...], dtype: str, gap: int) -> None:
        self.allocation, self.shape, self.dtype, self.gap = allocation, shape, dtype, gap
        self.changes: dict[str, Any] = {}

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        record = {
            "shape": self.shape, "typestr": np.dtype(self.dtype).str, "version": 3,
            "data": (self.allocation.address + self.gap, False), "stream": None,
        }  # fmt: skip
        return {**record, **self.changes}

    def fill(self, values: npt.NDArray[Any]) -> None:
        self.allocation.data[: values.nbytes] = values.view(np.uint8).reshape(-1)

    def numpy(self) -> npt.NDArray[Any]:
        return self.allocation.data[self.gap :].view(self.dtype).reshape(self.shape)


@pytest.fixture
def caller(driver: FakeDriver) -> Caller:
    return Caller(driver)


def infer(backend: DeviceBackend, images: Any, out: Any, stream: FakeStream) -> None:
    arrays = [DeviceArray.of(each, stream.handle) for each in (images, out)]
    backend.infer_on_device(arrays[0], (arrays[1],), stream.handle)


def test_the_callers_memory_is_read_and_written_when_its_stream_comes_to_it(
    caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT
) -> None:
    images = some_images(4)
    with opened(trt) as backend:
        assert isinstance(backend, DeviceBackend)
        source, out = caller.written(images), caller.memory((4, 5))
        before = dict(caller.driver.memory)
        infer(backend, source, out, caller.stream)
        assert caller.driver.memory == before, "memory was made"
        assert np.isnan(out.numpy()).all(), "it waited"
        caller.stream.synchronize()
        np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)
    assert runtime.launches == 0


def test_uploads_and_device_arrays_take_turns_on_one_backend(
    caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT
) -> None:
    """Own buffers, graphs and the caller's arrays, never waiting in between: one context, never in use twice."""
    theirs, other = FakeStream(caller.driver, 1), caller.stream
    with opened(trt) as backend:
        outs = []
        for seed in range(12):
            own, images = some_images(1 + seed % 3, seed), some_images(1 + seed % 6, 100 + seed)
            backend.upload(own)
            backend.execute()
            stream = (theirs, other)[seed % 2]
            out = caller.memory((len(images), 5))
            infer(backend, caller.written(images, stream), out, stream)
            outs.append((images, out))
            if seed % 4 == 3:
                np.testing.assert_allclose(backend.download()[0], answer_to(own, 5), rtol=1e-5)
        assert runtime.launches > 0
        for stream in (theirs, other):
            stream.synchronize()
        for images, out in outs:
            np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)
        batch = some_images(2, 999)
        np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)


def test_closing_waits_for_the_callers_stream(caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    images = some_images(2)
    backend = opened(trt)
    out = caller.memory((2, 5))
    infer(backend, caller.written(images), out, caller.stream)
    backend.close()
    np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)
    assert runtime.graphs == []


@pytest.mark.usefixtures("runtime")
def test_a_producers_stream_is_waited_for(caller: Caller, trt: FakeTensorRT) -> None:
    producer = FakeStream(caller.driver, 1)
    images = some_images(3)
    with opened(trt) as backend:
        source, out = caller.written(images, producer), caller.memory((3, 5))
        source.changes["stream"] = producer.handle
        infer(backend, source, out, caller.stream)
        caller.stream.synchronize()
        np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)


@pytest.mark.parametrize(
    ("which", "changes", "said"),
    [
        ("images", {"typestr": "<f8"}, r"for images is float64 \(3, 3, 4, 4\): expected float32 \(N, 3, 4, 4\)"),
        (
            "images",
            {"shape": (3, 48)},
            r"for images is float32 \(3, 48\): expected float32 \(N, 3, 4, 4\), N at least 1",
        ),
        ("images", {"shape": ()}, r"for images is float32 \(\)"),
        ("images", {"shape": (0, 3, 4, 4)}, "N at least 1"),
        ("images", {"strides": (4, 4, 4, 4)}, r"has strides \(4, 4, 4, 4\): expected C order"),
        ("images", {"data": (4096 + 8, False)}, "starts at 0x1008: expected a multiple of 256; copy it"),
        (
            "images",
            {"data": (1 << 40, False)},
            "is cudaMemoryTypeUnregistered, device -2: expected memory of the first",
        ),
        ("out", {"shape": (2, 5)}, r"for logits is float32 \(2, 5\): expected float32 \(3, 5\)"),
        ("out", {"typestr": "<i8"}, r"for logits is int64 \(3, 5\): expected float32 \(3, 5\)"),
        ("out", {"data": (4096, True)}, "for logits is read-only"),
    ],
)
@pytest.mark.usefixtures("runtime")
def test_arrays_that_do_not_fit_are_refused_before_anything_starts(
    caller: Caller, trt: FakeTensorRT, which: str, changes: dict[str, Any], said: str
) -> None:
    with opened(trt) as backend:
        source, out = caller.memory((3, 3, 4, 4)), caller.memory((3, 5))
        (source if which == "images" else out).changes.update(changes)
        with pytest.raises(DeployError, match=said):
            infer(backend, source, out, caller.stream)
        assert caller.stream.queue == []
    assert trt.started == 0


def test_a_batch_outside_of_the_profiles_is_refused(caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    trt.profiles = [(2, 2, 4)]
    with opened(trt) as backend:
        for count in (1, 5):
            with pytest.raises(DeployError, match=rf"a batch of {count} is outside the plan's profile \(2 to 4\)"):
                infer(backend, caller.memory((count, 3, 4, 4)), caller.memory((count, 5)), caller.stream)
    assert runtime.launches == 0


@pytest.mark.parametrize("array", [np.zeros((3, 3, 4, 4), dtype=np.float32)], ids=["numpy"])
def test_an_array_on_the_cpu_is_refused(caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT, array: Any) -> None:
    import torch

    with opened(trt) as backend:
        for each in (array, torch.from_numpy(array)):
            with pytest.raises(DeployError, match="the array for images is on cpu 0: expected the first CUDA GPU"):
                infer(backend, each, caller.memory((3, 5)), caller.stream)
        there = DeviceArray(address=4096, shape=(3, 3, 4, 4), dtype="float32", ordinal=1)
        with pytest.raises(DeployError, match="the array for images is on cuda 1: expected the first CUDA GPU"):
            backend.infer_on_device(there, (), caller.stream.handle)
    assert runtime.launches == 0


def test_without_cuda_bindings_it_says_what_is_missing(caller: Caller, trt: FakeTensorRT) -> None:
    with opened(trt) as backend, pytest.raises(MachineError, match="cuda-bindings cannot be loaded"):
        infer(backend, caller.written(some_images(2)), caller.memory((2, 5)), caller.stream)


def test_a_failed_start_leaves_the_backend_usable(caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    with opened(trt) as backend:
        context = backend._execution._contexts[0]._context
        original = type(context).execute_async_v3
        type(context).execute_async_v3 = lambda *_: False
        try:
            with pytest.raises(MachineError, match="TensorRT could not start the inference"):
                infer(backend, caller.written(some_images(2)), caller.memory((2, 5)), caller.stream)
        finally:
            type(context).execute_async_v3 = original
        batch = some_images(3, 5)
        np.testing.assert_allclose(run(backend, batch), answer_to(batch, 5), rtol=1e-5)
    assert runtime.graphs == []


def two_outputs(trt: FakeTensorRT) -> FakeTensorRT:
    trt.tensors = [
        trt.tensors[0],
        Tensor("classes", "INT64", (2,), lambda images: np.argsort(-answer_to(images, 5))[:, :2]),
        Tensor("scores", "FLOAT", (64,), lambda images: answer_to(images, 64)),
    ]
    return trt


def test_a_runner_takes_several_outputs_by_name_or_the_first_alone(
    caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT
) -> None:
    images = some_images(4)
    pool = Pool(opened(two_outputs(trt)), 2)
    classes, scores = caller.memory((4, 2), "int64"), caller.memory((4, 64))
    source, stream = caller.written(images), caller.stream
    predict_on_device(pool, "TensorRT fp16", source, {"scores": scores, "classes": classes}, stream.handle)
    alone = caller.memory((4, 2), "int64")
    predict_on_device(pool, "TensorRT fp16", source, alone, stream.handle)
    stream.synchronize()
    best = np.argsort(-answer_to(images, 5))[:, :2]
    np.testing.assert_array_equal(classes.numpy(), best)
    np.testing.assert_array_equal(alone.numpy(), best)
    np.testing.assert_allclose(scores.numpy(), answer_to(images, 64), rtol=1e-5)
    with pytest.raises(DeployError, match="out has scores: expected classes and scores"):
        predict_on_device(pool, "TensorRT fp16", source, {"scores": scores}, stream.handle)
    pool.close()
    with pytest.raises(DeployError, match="this runner is closed"):
        predict_on_device(pool, "TensorRT fp16", source, alone, stream.handle)
    assert runtime.graphs == []


def test_each_array_is_read_once(caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    """With torch, each reading records an event and makes the stream wait."""
    read: list[str] = []

    class Counted:
        def __init__(self, name: str, array: Any) -> None:
            self.name, self.array = name, array

        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            read.append(self.name)
            interface: dict[str, Any] = self.array.__cuda_array_interface__
            return interface

    images = some_images(4)
    pool = Pool(opened(trt), 1)
    out = caller.memory((4, 5))
    predict_on_device(
        pool, "TensorRT fp16", Counted("images", caller.written(images)), Counted("out", out), caller.stream.handle
    )
    caller.stream.synchronize()
    np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)
    assert read == ["images", "out"]
    pool.close()
    assert runtime.graphs == []


def test_a_size_that_comes_back_is_copied_on_the_device_and_runs_as_a_graph(
    caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT
) -> None:
    """At new addresses each time, and without touching the batch that was uploaded."""
    own = some_images(4, 999)
    with opened(trt) as backend:
        backend.upload(own)
        for seed, launches in enumerate((0, 0, 1, 2, 3)):
            images, out = some_images(4, seed), caller.memory((4, 5))
            source = caller.written(images)
            before = len(caller.driver.memory)
            infer(backend, source, out, caller.stream)
            assert seed < 2 or len(caller.driver.memory) == before, "memory was made"
            assert np.isnan(out.numpy()).all(), "it waited"
            assert runtime.launches == launches
            caller.stream.synchronize()
            np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)
        assert trt.started == 2
        backend.execute()
        np.testing.assert_allclose(backend.download()[0], answer_to(own, 5), rtol=1e-5)
    assert runtime.graphs == []


def test_a_large_batch_is_never_copied(
    caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "COPY_LIMIT_BYTES", 4 * (48 + 5) * 4 - 1)
    with opened(trt) as backend:
        for seed in range(4):
            images, out = some_images(4, seed), caller.memory((4, 5))
            infer(backend, caller.written(images), out, caller.stream)
            caller.stream.synchronize()
            np.testing.assert_allclose(out.numpy(), answer_to(images, 5), rtol=1e-5)
        assert (trt.started, runtime.launches) == (4, 0)


def test_a_large_batch_goes_in_parts_or_not_at_all(caller: Caller, runtime: FakeRuntime, trt: FakeTensorRT) -> None:
    trt.profiles = [(2, 2, 4)]
    trt.tensors[0] = Tensor("images", "FLOAT", (4, 4, 4))
    trt.tensors[1] = Tensor("logits", "FLOAT", (64,), lambda images: answer_to(images, 64))
    images = np.random.default_rng(0).normal(size=(10, 4, 4, 4)).astype(np.float32)
    pool = Pool(opened(trt), 1)
    source, out = caller.written(images), caller.memory((10, 64))
    predict_on_device(pool, "TensorRT fp16", source, out, caller.stream.handle)
    caller.stream.synchronize()
    np.testing.assert_allclose(out.numpy(), answer_to(images, 64), rtol=1e-4)
    assert trt.started == 3
    source, out = caller.written(images[:9]), caller.memory((9, 64))
    with pytest.raises(DeployError, match="a batch of 1 is outside the plan's profile"):
        predict_on_device(pool, "TensorRT fp16", source, out, caller.stream.handle)
    assert trt.started == 3, "a part was started"
    source.changes["strides"] = (4, 4, 4, 4)
    with pytest.raises(DeployError, match="has strides"):
        predict_on_device(pool, "TensorRT fp16", source, out, caller.stream.handle)
    pool.close()
    assert runtime.graphs == []


def test_a_backend_without_device_arrays_says_which_has_them() -> None:
    pool = Pool(SimpleNamespace(close=lambda: None), 1)
    with pytest.raises(
        DeployError, match="PyTorch fp32 does not take arrays on a GPU: open the bundle with the backend tensor"
    ):
        predict_on_device(pool, "PyTorch fp32", object(), object(), 0)
