"""Single images in batches: their sizes, whose answer and whose error is whose, a full queue, and the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.runtime.batcher import Batcher, Overloaded
from wrn_deploy.runtime.runner import Runner

FOREVER_MS = 1e8  # a batch that starts all the same was full, or the batcher was closed
BAD, SIZE = 255, (2, 2, 3)


class FakeRunner:
    """Answers with each image's number; refuses batches with the number BAD. `gate` holds its calls until it is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def prepare(self, images: Any) -> Any:
        if images.shape[1:] != SIZE:
            raise DeployError(f"images are {images.shape}")
        return images

    def run(self, batch: Any) -> dict[str, Any]:
        numbers = batch[:, 0, 0, 0]
        self.batches.append(numbers.tolist())
        self.entered.release()
        assert self.gate.wait(60)
        if BAD in numbers:
            raise DeployError("a bad image")
        return {"logits": numbers[:, None].astype(np.float32), "double": numbers[:, None] * 2}


@pytest.fixture
def fake() -> Iterator[FakeRunner]:
    runner = FakeRunner()
    yield runner
    runner.gate.set()


def batcher_of(fake: FakeRunner, **options: Any) -> Batcher:
    return Batcher(cast("Runner", fake), **options)


def image(number: int) -> npt.NDArray[np.uint8]:
    return np.full(SIZE, number, np.uint8)


def answers(futures: list[Future[Any]]) -> list[float]:
    return [float(future.result(60)["logits"][0]) for future in futures]


def test_a_full_batch_starts_at_once_and_each_gets_its_own_answer(fake: FakeRunner) -> None:
    with batcher_of(fake, max_batch=3, max_delay_ms=FOREVER_MS) as batcher:
        futures = [batcher.submit(image(number)) for number in range(6)]
        assert answers(futures) == [0, 1, 2, 3, 4, 5]
    assert fake.batches == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("delay", [0, 1])
def test_an_image_does_not_wait_for_others_longer_than_the_delay(fake: FakeRunner, delay: float) -> None:
    with batcher_of(fake, max_batch=100, max_delay_ms=delay) as batcher:
        assert batcher.predict(image(7), timeout=60).tolist() == [7]
        assert batcher.run(image(8))["double"].tolist() == [16]
    assert fake.batches == [[7], [8]]


def test_while_a_batch_runs_the_next_one_fills(fake: FakeRunner) -> None:
    fake.gate.clear()
    with batcher_of(fake, max_batch=10, max_delay_ms=0) as batcher:
        first = batcher.submit(image(0))
        assert fake.entered.acquire(timeout=60)
        rest = [batcher.submit(image(number)) for number in range(1, 5)]
        fake.gate.set()
        assert answers([first, *rest]) == [0, 1, 2, 3, 4]
    assert fake.batches == [[0], [1, 2, 3, 4]]


def test_workers_run_batches_at_the_same_time(fake: FakeRunner) -> None:
    fake.gate.clear()
    with batcher_of(fake, max_batch=1, workers=2) as batcher:
        futures = [batcher.submit(image(number)) for number in range(2)]
        assert all(fake.entered.acquire(timeout=60) for _ in futures), "both are in a call now"
        fake.gate.set()
        assert answers(futures) == [0, 1]


def test_an_error_reaches_the_caller_whose_image_caused_it(fake: FakeRunner) -> None:
    with batcher_of(fake, max_batch=4, max_delay_ms=FOREVER_MS) as batcher:
        futures = [batcher.submit(image(number)) for number in (1, BAD, 2, 3)]
        assert answers([futures[0], *futures[2:]]) == [1, 2, 3]
        with pytest.raises(DeployError, match="a bad image"):
            futures[1].result(60)


def test_an_image_of_another_shape_is_refused_before_it_waits(fake: FakeRunner) -> None:
    with batcher_of(fake) as batcher:
        with pytest.raises(DeployError, match=r"images are \(1, 5, 5, 3\)"):
            batcher.submit(np.zeros((5, 5, 3), np.uint8))
        assert batcher.waiting == 0


def test_a_full_queue_refuses_more(fake: FakeRunner) -> None:
    fake.gate.clear()
    with batcher_of(fake, max_batch=1, max_waiting=2) as batcher:
        running = batcher.submit(image(0))
        assert fake.entered.acquire(timeout=60)
        waiting = [batcher.submit(image(number)) for number in (1, 2)]
        with pytest.raises(Overloaded, match="2 images are waiting, the most that max_waiting allows"):
            batcher.submit(image(3))
        fake.gate.set()
        assert answers([running, *waiting]) == [0, 1, 2]


def test_a_cancelled_image_is_not_run(fake: FakeRunner) -> None:
    fake.gate.clear()
    with batcher_of(fake, max_batch=1) as batcher:
        running = batcher.submit(image(0))
        assert fake.entered.acquire(timeout=60)
        assert batcher.submit(image(1)).cancel()
        with pytest.raises(TimeoutError):
            batcher.predict(image(2), timeout=0)
        kept = batcher.submit(image(3))
        fake.gate.set()
        assert answers([running, kept]) == [0, 3]
    assert fake.batches == [[0], [3]]


def test_closing_runs_what_waits_and_refuses_more(fake: FakeRunner) -> None:
    fake.gate.clear()
    batcher = batcher_of(fake, max_batch=2, max_delay_ms=FOREVER_MS)
    futures = [batcher.submit(image(number)) for number in range(5)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(batcher.close)
        fake.gate.set()
        closing.result(60)
    assert all(future.done() for future in futures)
    assert answers(futures) == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="this batcher is closed"):
        batcher.submit(image(0))
    batcher.close()
    assert "closed" in repr(batcher)


def test_coroutines_share_batches_and_each_gets_its_own(fake: FakeRunner) -> None:
    async def serve(batcher: Batcher) -> list[Any]:
        calls = (batcher.predict_async(image(number)) for number in (1, BAD, 2, 3))
        return await asyncio.gather(*calls, return_exceptions=True)

    with batcher_of(fake, max_batch=4, max_delay_ms=FOREVER_MS) as batcher:
        found = asyncio.run(serve(batcher))
    assert [float(found[at][0]) for at in (0, 2, 3)] == [1, 2, 3]
    assert isinstance(found[1], DeployError)
    assert sorted(fake.batches[0]) == [1, 2, 3, BAD]


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_waiting": 0}, {"workers": 0}, {"max_delay_ms": -1.0}])
def test_impossible_options_are_refused(fake: FakeRunner, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected at least 1 of each, and a delay from 0"):
        batcher_of(fake, **options)


def test_a_real_runner_answers_as_it_does_alone(made_bundle: Path) -> None:
    images = [item.load() for item, _ in zip(open_data("digits", Role.TEST).items(), range(12), strict=False)]
    with Runner.open(made_bundle, backend="onnxruntime", precision="fp32") as runner, Batcher(runner) as batcher:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(batcher.predict, images))
        np.testing.assert_allclose(np.stack(found), runner.predict(np.stack(images)), rtol=1e-4, atol=1e-4)
        with pytest.raises(DeployError, match="expected uint8"):
            batcher.predict(np.zeros((5, 5, 3), np.uint8))
        wrong = np.full((3, 32, 32), np.nan, np.float32)
        with pytest.raises(DeployError, match="NaN or infinite"):
            batcher.predict(wrong)
