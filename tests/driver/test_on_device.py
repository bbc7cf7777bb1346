"""`predict_on_device`: arrays and streams of callers, beside predictions from host memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import OnGpu, answer_to, make_bundle, some_images
from wrn_deploy import Runner
from wrn_deploy.backends.plan.cuda import NON_BLOCKING
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.device_array import DeviceArray


@pytest.fixture
def runner(bundle_folder: Path) -> Iterator[Runner]:
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=2) as opened:
        yield opened


def close_to(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_work_on_callers_streams_is_ordered_and_right(gpu: Any, runner: Runner) -> None:
    streams, kept = [gpu.Stream(), gpu.Stream(NON_BLOCKING)], []
    for turn in range(24):
        images, stream = some_images((2, 5, 16, 1)[turn % 4], turn), streams[turn % 2]
        source, out = OnGpu(gpu, images.shape), OnGpu(gpu, (len(images), 10))
        pinned = gpu.pagelocked_empty(images.shape, np.float32)
        pinned[:] = images
        gpu.memcpy_htod_async(source.memory, pinned, stream)
        runner.predict_on_device(source, out, stream.handle)
        kept.append((images, source, out, pinned))
        if turn % 5 == 0:
            between = some_images(5, 100 + turn)
            close_to(runner.predict(between), answer_to(between))
    for stream in streams:
        stream.synchronize()
    for images, _source, out, _pinned in kept:
        close_to(out.read(), answer_to(images))


@pytest.mark.filterwarnings("error")
def test_the_default_stream_works(gpu: Any, runner: Runner) -> None:
    images = some_images(4)
    source, out = OnGpu.of(gpu, images), OnGpu(gpu, (4, 10))
    for _ in range(4):
        runner.predict_on_device(source, out)
        close_to(out.read(), answer_to(images))


@pytest.mark.filterwarnings("error")
def test_a_batch_larger_than_the_plans_is_split(gpu: Any, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", profiles=((1, 8, 32),))  # the parts of 32 begin at multiples of 256 bytes
    images = some_images(70)
    source, out, stream = OnGpu.of(gpu, images), OnGpu(gpu, (70, 10)), gpu.Stream()
    with Runner.open(tmp_path / "bundle", precision="fp16", backend="tensorrt") as runner:
        for _ in range(3):
            runner.predict_on_device(source, out, stream.handle)
    close_to(out.read(), answer_to(images))


def test_each_array_is_read_once(gpu: Any, runner: Runner) -> None:
    """A reading of a PyTorch tensor records an event and makes the stream wait."""
    source, out = OnGpu.of(gpu, some_images(4)), OnGpu(gpu, (4, 10))
    runner.predict_on_device(source, out)
    gpu.Context.synchronize()
    assert (source.asked, out.asked) == (1, 1)


def test_memory_that_is_not_the_gpus_is_refused_before_anything_starts(gpu: Any, runner: Runner) -> None:
    images = some_images(4)
    backend = runner._pool.first
    out = OnGpu(gpu, (4, 10))
    before = standin.counts()
    wrong = DeviceArray(address=1 << 46, shape=images.shape, dtype="float32")
    with pytest.raises(DeployError, match="expected memory of the first CUDA GPU"):
        backend.infer_on_device(wrong, (DeviceArray.of(out),), 0)  # type: ignore[attr-defined]
    assert standin.counts().since(before).inferences == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_closing_waits_for_work_on_callers_streams(gpu: Any, bundle_folder: Path) -> None:
    images = some_images(16)
    runner = Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=1)
    source, out, stream = OnGpu.of(gpu, images), OnGpu(gpu, (16, 10)), gpu.Stream(NON_BLOCKING)
    for _ in range(5):
        runner.predict_on_device(source, out, stream.handle)
    runner.close()
    close_to(out.read(), answer_to(images))
