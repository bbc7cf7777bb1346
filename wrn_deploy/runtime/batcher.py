"""Groups the single images of many callers, threads or coroutines, into batches for a Runner; numpy only."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.runtime.backend import Array
from wrn_deploy.runtime.runner import Runner

__all__ = ["Batcher", "Overloaded"]

Image = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Outputs = dict[str, Array]


class Overloaded(DeployError):  # noqa: N818 (it names what was met)
    """A `Batcher` has its maximum number of images waiting: respond "busy", or try again later (exit code 1)."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One image, (1, ...) as the runner takes it, and where its outputs go."""

    image: Array
    future: Future[Outputs] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Runs images that arrive one by one in batches; a context manager. Any number of threads and coroutines may call.

    A batch starts when `max_batch` images wait, or the first of them has waited for `max_delay_ms`. While a batch runs,
    the next one fills. An error reaches the caller whose image caused it, and no other.

    Example:
        ```python
        with Runner.open("bundle") as runner, Batcher(runner, max_batch=16, max_delay_ms=2) as batcher:
            logits = batcher.predict(image)  # in a thread; (classes,)
            logits = await batcher.predict_async(image)  # in a coroutine
        ```

    Args:
        runner: an open runner, which stays open.
        max_batch: images in a batch, at most.
        max_delay_ms: how long an image may wait for others; 0: not at all.
        max_waiting: images that may wait; further ones are refused with `Overloaded`.
        workers: batches that run at the same time, each on a context of the runner.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_batch: int = 32,
        max_delay_ms: float = 2.0,
        max_waiting: int = 1024,
        workers: int = 1,
    ) -> None:
        if min(max_batch, max_waiting, workers) < 1 or not 0 <= max_delay_ms < math.inf:
            raise UsageError(
                f"max_batch {max_batch}, max_waiting {max_waiting}, workers {workers}, max_delay_ms {max_delay_ms:g}: "
                "expected at least 1 of each, and a delay from 0"
            )
        self.runner = runner
        self.max_batch = max_batch
        self.max_delay_ms = max_delay_ms
        self.max_waiting = max_waiting
        self._process = os.getpid()
        self._closed = False
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()  # guards the two above
        self._collecting = threading.Lock()  # held by the one thread that fills a batch
        self._threads = [
            threading.Thread(target=self._work, name=f"batcher-{at}", daemon=True) for at in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def predict(self, image: Image, timeout: float | None = None) -> npt.NDArray[np.float32]:
        """Logits of one image, (classes,) float32; waits for them.

        Args:
            image: uint8 (H, W, 3), RGB, at the network's size; or normalised float32 (3, H, W), as `Runner.predict`
                takes it.
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            Overloaded: too many images wait.
            TimeoutError: the answer took longer than `timeout`.
            DeployError: another shape or dtype, or as `Runner.predict`.
            UsageError: the batcher is closed.
        """
        logits: npt.NDArray[np.float32] = self._result(self.submit(image), timeout)["logits"]
        return logits

    def run(self, image: Image, timeout: float | None = None) -> Outputs:
        """All outputs of one image by name, each without the batch's axis; otherwise like `predict`."""
        return self._result(self.submit(image), timeout)

    async def predict_async(self, image: Image) -> npt.NDArray[np.float32]:
        """As `predict`, without blocking the event loop. If its task is cancelled in time, it is not run."""
        logits: npt.NDArray[np.float32] = (await self.run_async(image))["logits"]
        return logits

    async def run_async(self, image: Image) -> Outputs:
        """As `run`, without blocking the event loop."""
        return await asyncio.wrap_future(self.submit(image))

    def submit(self, image: Image) -> Future[Outputs]:
        """Queues one image; the future gets its outputs by name, and can be cancelled until its batch runs.

        Raises:
            Overloaded: too many images wait.
            DeployError: another shape or dtype.
            UsageError: the batcher is closed, or belongs to the process that this one was forked from.
        """
        if os.getpid() != self._process:
            raise UsageError(
                f"this batcher was made in process {self._process}, whose threads a forked process does not have: make "
                "one in the child, with a runner that is opened there"
            )
        request = _Request(self.runner.prepare(image[None]))
        with self._changed:
            if self._closed:
                raise UsageError("this batcher is closed: make another one")
            if len(self._waiting) >= self.max_waiting:
                raise Overloaded(
                    f"{len(self._waiting)} images are waiting, the most that max_waiting allows: try again later"
                )
            self._waiting.append(request)
            self._changed.notify_all()
        return request.future

    @property
    def waiting(self) -> int:
        """The number of images that wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Takes no more images, runs those that wait, and returns when they are done. May be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if os.getpid() == self._process:
            for thread in self._threads:
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.waiting} of {self.max_waiting} images waiting"
        return f"<{type(self).__name__} of {self.runner!r}: up to {self.max_batch} images, {state}>"

    @staticmethod
    def _result(future: Future[Outputs], timeout: float | None) -> Outputs:
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()  # nobody waits for it any more
            raise

    def _work(self) -> None:
        while requests := self._next():
            running = [request for request in requests if request.future.set_running_or_notify_cancel()]
            if running:
                self._run(running)

    def _next(self) -> list[_Request]:
        """The next batch; empty when the batcher is closed and nothing waits."""
        with self._collecting, self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while self._waiting and len(self._waiting) < self.max_batch and not self._closed:
                left = self._waiting[0].arrived + self.max_delay_ms / 1000 - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self.max_batch))]

    def _run(self, requests: list[_Request]) -> None:
        """Runs a batch; if it fails, each image alone, so that only those fail that cannot be run."""
        try:
            outputs: dict[str, Any] = self.runner.run(np.concatenate([request.image for request in requests]))
        except BaseException as error:  # noqa: BLE001 (whatever it is, somebody waits for it)
            if len(requests) == 1:
                requests[0].future.set_exception(error)
                return
            for request in requests:
                self._run([request])
            return
        for at, request in enumerate(requests):
            request.future.set_result({name: array[at].copy() for name, array in outputs.items()})
