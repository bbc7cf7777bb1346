"""`wrn_infer_device`: memory and streams of callers, beside inferences from host memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import OnGpu, answer_to, some_images
from tests.driver.library.calls import CallError, Library, Opened, OurTensorRT
from tests.driver.library.conftest import MakeBundle
from wrn_deploy.backends.plan.cuda import NON_BLOCKING


def close_to(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def infer(runner: Opened, source: OnGpu, out: OnGpu, stream: int = 0) -> None:
    runner.infer_device(int(source.memory), source.shape[0], int(out.memory), stream)


@pytest.mark.usefixtures("slow_kernels")
def test_work_on_callers_streams_is_ordered_and_right(
    gpu: Any, library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    streams, kept = [gpu.Stream(), gpu.Stream(NON_BLOCKING)], []
    before = standin.counts()
    with library.open(make(), backend=flavor, contexts=2) as runner:
        for turn in range(24):
            images, stream = some_images((2, 5, 16, 1)[turn % 4], turn), streams[turn % 2]
            source, out = OnGpu(gpu, images.shape), OnGpu(gpu, (len(images), 10))
            pinned = gpu.pagelocked_empty(images.shape, np.float32)
            pinned[:] = images
            gpu.memcpy_htod_async(source.memory, pinned, stream)
            infer(runner, source, out, stream.handle)
            kept.append((images, source, out, pinned))
            if turn % 5 == 0:
                between = some_images(5, 100 + turn)
                close_to(runner.predict(between), answer_to(between))
        for stream in streams:
            stream.synchronize()
        for images, _source, out, _pinned in kept:
            close_to(out.read(), answer_to(images))
    assert (standin.counts().since(before).launches > 0) == (flavor == "tensorrt")


def test_the_default_stream_works(gpu: Any, library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str) -> None:
    del ours
    images = some_images(4)
    source, out = OnGpu.of(gpu, images), OnGpu(gpu, (4, 10))
    with library.open(make(), backend=flavor) as runner:
        for _ in range(4):
            infer(runner, source, out)
            close_to(out.read(), answer_to(images))


def test_a_batch_larger_than_the_plans_is_split(
    gpu: Any, library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    images = some_images(70)
    source, out, stream = OnGpu.of(gpu, images), OnGpu(gpu, (70, 10)), gpu.Stream()
    bundle = make(profiles=((1, 8, 32),))  # the parts of 32 begin at multiples of 256 bytes
    with library.open(bundle, backend=f"{flavor}_nographs") as runner:
        for _ in range(3):
            infer(runner, source, out, stream.handle)
    assert ours.batches() == 3 * [32, 32, 6]
    close_to(out.read(), answer_to(images))


def test_what_does_not_fit_is_refused_before_anything_starts(
    gpu: Any, library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    source, out = OnGpu.of(gpu, some_images(5)), OnGpu(gpu, (5, 10))
    host = np.zeros(64 + 5 * 192, np.float32)
    aligned = host.ctypes.data + -host.ctypes.data % 256
    with library.open(make(profiles=((1, 1, 2), (4, 4, 16))), backend=flavor) as runner:
        before = standin.counts()
        for images, count, status, said in (
            (int(source.memory) + 64, 4, 1, "for images starts at 0x[0-9a-f]+: expected a multiple of 256; copy it"),
            (aligned, 4, 1, f"for images at {aligned:#x} is no memory that CUDA knows: expected memory of the first"),
            (int(source.memory), 3, 1, "a batch of 3 is outside the plan's profiles"),
            (int(source.memory), 0, 2, "0 images: expected at least 1"),
        ):
            with pytest.raises(CallError, match=said) as found:
                runner.infer_device(images, count, int(out.memory))
            assert found.value.status == status
        with pytest.raises(CallError, match="2: images on a device are uint8: expected float32"):
            runner.infer_device(int(source.memory), 4, int(out.memory), dtype="uint8")
        assert standin.counts().since(before).inferences == 0


@pytest.mark.usefixtures("slow_kernels")
def test_closing_waits_for_work_on_callers_streams(
    gpu: Any, library: Library, ours: OurTensorRT, make: MakeBundle, flavor: str
) -> None:
    del ours
    images = some_images(16)
    runner = library.open(make(), backend=flavor, contexts=1)
    source, out, stream = OnGpu.of(gpu, images), OnGpu(gpu, (16, 10)), gpu.Stream(NON_BLOCKING)
    for _ in range(5):
        infer(runner, source, out, stream.handle)
    runner.close()
    close_to(out.read(), answer_to(images))
