"""Runner on plans: its answers, its graphs, its threads and its end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.driver import standin
from tests.driver.bundles import answer_to, make_bundle, some_images
from wrn_deploy import Runner
from wrn_deploy.errors import UsageError


def check(runner: Runner, count: int, seed: int = 0) -> None:
    images = some_images(count, seed)
    np.testing.assert_allclose(runner.predict(images), answer_to(images), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_batches_of_all_sizes_are_answered_again_and_again(bundle_folder: Path) -> None:
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=1) as runner:
        before = standin.counts()
        for seed in range(5):
            for count in (1, 2, 16, 7, 33, 1, 2):  # 33 is split into 16, 16 and a padded 1
                check(runner, count, seed)
        ran = standin.counts().since(before)
        assert ran.launches > ran.inferences, "most of them run as graphs"


@pytest.mark.filterwarnings("error")
def test_pixels_are_taken_by_a_plan_that_normalises(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", pixels=True, profiles=((1, 4, 8),))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    with Runner.open(tmp_path / "bundle", precision="fp16", backend="tensorrt") as runner:
        for _ in range(4):
            np.testing.assert_allclose(runner.predict(pixels), answer_to(pixels))


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("slow_kernels")
def test_threads_share_contexts(bundle_folder: Path) -> None:
    """Six threads, three contexts: captures on one stream while others copy, run and allocate."""
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=3) as runner:
        before = standin.counts()

        def work(seed: int) -> None:
            sizes = np.random.default_rng(seed).integers(1, 20, 20)
            for turn, count in enumerate(sizes):
                check(runner, int(count), 100 * seed + turn)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert standin.counts().since(before).launches > 0


def test_closing_waits_for_the_calls_of_other_threads(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_KERNEL_US", "50000")
    runner = Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=2)
    started = threading.Barrier(3)

    def work(seed: int) -> None:
        started.wait()
        check(runner, 4, seed)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(work, seed) for seed in range(2)]
        started.wait()
        for call in calls:
            call.result()
        runner.close()
        runner.close()
    with pytest.raises(UsageError, match="closed"):
        runner.predict(some_images(1))


def test_a_runner_that_nobody_closes_leaves_nothing(bundle_folder: Path) -> None:
    runner = Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=1)
    for seed in range(4):
        check(runner, 2, seed)
    del runner


@pytest.mark.filterwarnings("error")
def test_warming_up_makes_all_contexts_and_their_graphs(bundle_folder: Path) -> None:
    with Runner.open(bundle_folder, precision="fp16", backend="tensorrt", contexts=3) as runner:
        runner.warmup((1, 8), iterations=3)
        before = standin.counts()
        check(runner, 8)
        check(runner, 1)
        ran = standin.counts().since(before)
        assert (ran.launches, ran.inferences, ran.device_blocks) == (2, 0, 0)
