"""Decodes images in worker processes and yields them in order; no torch."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import Item
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.machine import usable_cores
from wrn_deploy.process.children import Child
from wrn_deploy.spec import Preprocessing

__all__ = ["Decoders", "Outcome", "choose_workers"]

CHUNK_BYTES, CHUNK_IMAGES = 2**20, 64  # the maximum requested of a process at once
AHEAD = 3  # chunks that are requested of each process before they are needed
EXIT_TIMEOUT_S = 5  # of a killed process
MIN_IMAGES = 64  # fewer are decoded before a process has started

# Searches modules where the parent does, not in the current folder, as `-m` would.
PROGRAM = (
    "import sys; _, socket, *sys.path = sys.argv; from wrn_deploy.data.decoding import process; "
    "process.serve(int(socket))"
)

Outcome = npt.NDArray[np.uint8] | Exception


def choose_workers(asked: int | None, preprocessing: Preprocessing, images: int) -> int:
    """Returns `asked`; if it is None, one process per core for at least 64 images that are resized, else 0.

    Images that already have the size of the network's input are small: one process needs 0.02 (pixels) to 0.08 ms
    (JPEG) each, and sending the pixels takes longer than decoding them.
    """
    if asked is not None:
        return asked
    return 0 if preprocessing.resize is None or images < MIN_IMAGES else usable_cores()


class Decoders:
    """Processes that decode images. They start with the first image, and end with `close`, this object or this process.

    One pass after another can use them; a pass that was left early does not affect the next one.
    """

    def __init__(self, count: int) -> None:
        if count < 0:
            raise UsageError(f"{count} decoding processes: expected 0 (decode in this one) or more")
        self.count = count
        self._pool: _Pool | None = None
        self._end: weakref.finalize[[], Decoders] | None = None

    def fit(self, items: Iterable[Item], preprocessing: Preprocessing) -> Iterator[tuple[Item, Outcome]]:
        """Yields each item with its pixels, uint8 (height, width, 3) as of `preprocess.fit_image`, or with its error.

        At most `AHEAD` chunks of about a megabyte per process are in flight. An error of `items` itself is raised at
        its place in the order.

        Raises:
            DeployError: a process died, or an item cannot be sent to it.
        """
        pool = self._started()
        pending: deque[tuple[list[Item], Future[list[Outcome]]]] = deque()
        failed: Exception | None = None
        try:
            for chunk in _chunks(items, preprocessing):
                if isinstance(chunk, Exception):
                    failed = chunk
                    break
                pending.append((chunk, pool.submit(chunk, preprocessing)))
                if len(pending) == AHEAD * self.count:
                    asked, answer = pending.popleft()
                    yield from zip(asked, answer.result(), strict=True)
            while pending:
                asked, answer = pending.popleft()
                yield from zip(asked, answer.result(), strict=True)
            if failed is not None:
                raise failed
        except KeyboardInterrupt:  # else Python would wait for the last answers before it exits
            self.close()
            raise
        finally:
            for _, answer in pending:
                answer.cancel()
            if pool.is_broken:
                self.close()

    def close(self) -> None:
        """Ends the processes; another pass would start new ones."""
        if self._end is not None:
            self._end()
        self._pool = self._end = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _started(self) -> _Pool:
        assert self.count, "without processes there is nothing to start"
        if self._pool is None:
            self._pool = _Pool(self.count)
            self._end = weakref.finalize(self, self._pool.close)
        return self._pool


def _chunks(items: Iterable[Item], preprocessing: Preprocessing) -> Iterator[list[Item] | Exception]:
    """Groups the items in lists; an error of `items` comes last, since the images before it may suffice."""
    size = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (3 * preprocessing.height * preprocessing.width)))
    chunk: list[Item] = []
    failed: Exception | None = None
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except Exception as error:  # noqa: BLE001 (raised again at its place in the order)
        failed = error
    if chunk:
        yield chunk
    if failed is not None:
        yield failed


class _Pool:
    """Some processes, each used by one thread at a time."""

    def __init__(self, count: int) -> None:
        self.is_broken = False
        self._processes = [_Process() for _ in range(count)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoding")

    def submit(self, items: list[Item], preprocessing: Preprocessing) -> Future[list[Outcome]]:
        return self._threads.submit(self._decode, items, preprocessing)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    def _decode(self, items: list[Item], preprocessing: Preprocessing) -> list[Outcome]:
        process = self._idle.get()
        try:
            return process.decode(items, preprocessing)
        except BaseException:
            self.is_broken = True
            raise
        finally:
            self._idle.put(process)


class _Process:
    """A process and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), *sys.path]
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = Child(command, pass_fds=[theirs.fileno()], env={**os.environ, **one_thread})
        theirs.close()
        self._connection = Connection(ours.detach())

    def decode(self, items: list[Item], preprocessing: Preprocessing) -> list[Outcome]:
        try:
            request = pickle.dumps((preprocessing, items), protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise DeployError(
                f"{items[0].name} cannot be sent to a decoding process ({error}): expected a `load` that can be "
                "pickled, such as a partial of a module's function; or decode in one process, --workers 0"
            ) from error
        try:
            self._connection.send_bytes(request)
            errors: list[Exception | None] | Exception = self._connection.recv()
            if isinstance(errors, Exception):
                raise errors
            pixels = np.empty((errors.count(None), preprocessing.height, preprocessing.width, 3), dtype=np.uint8)
            self._read(pixels.reshape(-1).data)
        except (EOFError, OSError) as error:
            raise DeployError(self._exit_report(items)) from error
        images = iter(pixels)
        return [next(images) if error is None else error for error in errors]

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait(EXIT_TIMEOUT_S)
        self._connection.close()

    def _read(self, into: memoryview) -> None:
        while into:
            count = os.readv(self._connection.fileno(), [into])
            if not count:
                raise EOFError
            into = into[count:]

    def _exit_report(self, items: list[Item]) -> str:
        try:
            code = self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it closed the connection, but does not exit
            self._process.kill()
            code = self._process.wait(EXIT_TIMEOUT_S)
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        named = items[0].name if len(items) == 1 else f"{items[0].name} ... {items[-1].name}"
        return (
            f"the process that decoded {named} died ({cause}): expected it to live; if memory ran out use "
            "fewer --workers; with --workers 0 the image that causes it is the last one reached"
        )
