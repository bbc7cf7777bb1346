"""Execution contexts and their graphs: sizes in turn, profiles, eviction, siblings, captures beside others' work."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import answer_to, make_bundle, some_images
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Backend, open_backend
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.spec import Precision


def opened(folder: Path, flavor: str = "tensorrt") -> Backend:
    return open_backend(Bundle.open(folder), backend=flavor, precision=Precision.FP16)


def check(backend: Backend, count: int, seed: int = 0) -> None:
    images = some_images(count, seed)
    backend.upload(images)
    backend.execute()
    backend.synchronize()
    np.testing.assert_allclose(backend.download()[0], answer_to(images), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_graphs_of_several_sizes_stay_right_when_sizes_alternate(tmp_path: Path) -> None:
    """NVIDIA's developer guide: one execution context per captured graph; another shape changes the context's state."""
    make_bundle(tmp_path / "bundle", profiles=((1, 8, 16),))
    with opened(tmp_path / "bundle") as backend:
        for seed in range(6):
            for count in (1, 7, 16):
                check(backend, count, seed)
        before = standin.counts()
        for count in (1, 7, 16, 7, 1):
            check(backend, count, count)
        ran = standin.counts().since(before)
        assert (ran.launches, ran.inferences) == (5, 0)


@pytest.mark.filterwarnings("error")
def test_graphs_do_not_become_more_and_more(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", profiles=((1, 8, 16),))
    before = standin.counts()
    with opened(tmp_path / "bundle") as backend:
        for count in (*range(1, 17), *range(16, 0, -1)):
            for seed in range(3):
                check(backend, count, seed)
        made = standin.counts().since(before)
        assert made.instantiated >= 16
        assert 0 < made.instances <= 8
        assert made.graphs == 0


@pytest.mark.filterwarnings("error")
def test_profiles_are_chosen_before_shapes(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", profiles=((1, 1, 2), (2, 4, 4), (8, 16, 16)))
    with opened(tmp_path / "bundle") as backend:
        for seed in range(4):
            for count in (1, 2, 3, 4, 8, 16):
                check(backend, count, seed)
        with pytest.raises(DeployError, match="a batch of 5 is outside the plan's profiles"):
            backend.upload(some_images(5))
        check(backend, 4)


@pytest.mark.filterwarnings("error")
def test_siblings_share_the_weights_and_close_in_any_order(bundle_folder: Path) -> None:
    backends = [opened(bundle_folder)]
    weights = standin.counts().device_bytes
    backends += [backends[0].sibling() for _ in range(3)]
    assert standin.counts().device_bytes < 4 * weights
    for order in (0, 2, 1):
        for each in backends:
            for seed in range(3):
                check(each, 4, seed)
        backends.pop(order % len(backends)).close()
    check(backends[0], 1)
    backends[0].close()


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_a_capture_is_not_disturbed_by_other_threads_that_allocate(bundle_folder: Path) -> None:
    """The capture mode is thread-local: PyTorch, say, may allocate and use the default stream meanwhile."""
    stop = threading.Event()

    def other() -> None:
        while not stop.is_set():
            with on_gpu() as cuda:
                memory = cuda.mem_alloc(1000)
                cuda.memcpy_htod(memory, np.zeros(10, np.float32))
                memory.free()

    before = standin.counts()
    thread = threading.Thread(target=other)
    thread.start()
    try:
        with opened(bundle_folder) as backend:
            for count in (1, 2, 3, 4, 5):
                for seed in range(4):
                    check(backend, count, seed)
            assert standin.counts().since(before).instances == 5
    finally:
        stop.set()
        thread.join()


@pytest.mark.filterwarnings("error")
def test_the_gpus_own_time_is_that_of_the_kernels(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_KERNEL_US", "20000")
    with opened(bundle_folder) as backend:
        assert backend.elapsed_ms() is None
        for seed in range(4):
            check(backend, 4, seed)
            elapsed = backend.elapsed_ms()
            assert elapsed is not None
            assert 20 <= elapsed < 200


def test_a_rtx_plan_runs(rtx_folder: Path) -> None:
    with opened(rtx_folder, "tensorrt_rtx") as backend:
        for seed in range(4):
            for count in (1, 5, 16):
                check(backend, count, seed)
