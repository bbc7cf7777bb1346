"""Decodes images in processes of their own and gives them in the order that they were asked for; no torch."""

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
from wrn_deploy.spec import Preprocessing

__all__ = ["Decoders", "Outcome", "choose_workers"]

CHUNK_BYTES, CHUNK_IMAGES = 2**20, 64  # of pixels that a process is asked for at once, at most
AHEAD = 3  # chunks a process that are asked for before they are needed
ENDING_S = 5  # seconds that a killed process has to be gone
FEW = 64  # images for which no process is worth its start

# It searches modules where its parent does, and not in the current folder, as -m would.
PROGRAM = (
    "import sys; _, socket, *sys.path = sys.argv; from wrn_deploy.data.decoding import process; "
    "process.serve(int(socket))"
)

Outcome = npt.NDArray[np.uint8] | Exception


def choose_workers(asked: int | None, how: Preprocessing, images: int) -> int:
    """The number of processes: as asked; else one a core where images are resized, as photographs are, and no few.

    Images that are as large as the network's input already are small: they take 0.02 (pixels) to 0.08 ms (JPEG) each in
    one process, and pixels take longer to send than to make.
    """
    if asked is not None:
        return asked
    return 0 if how.resize is None or images < FEW else usable_cores()


class Decoders:
    """Processes that decode, which start with the first image and end with `close`, this object or this process.

    They can be used by one pass after another; a pass that was left is of no concern to the next.
    """

    def __init__(self, count: int) -> None:
        if count < 0:
            raise UsageError(f"{count} decoding processes: expected 0 (decode in this one) or more")
        self.count = count
        self._pool: _Pool | None = None
        self._end: weakref.finalize[[], Decoders] | None = None

    def fit(self, items: Iterable[Item], how: Preprocessing) -> Iterator[tuple[Item, Outcome]]:
        """Each item with its pixels, (height, width, 3) uint8 as `preprocess.fit_image` gives them, or with its error.

        At most `AHEAD` chunks of about a megabyte a process are on their way. An error of `items` itself is raised
        where it stands in the order.

        Raises:
            DeployError: a process died, or an item cannot be sent to one.
        """
        pool, chunks = self._started(), _chunks(items, how)
        pending: deque[tuple[list[Item], Future[list[Outcome]]]] = deque()
        trouble: Exception | None = None
        try:
            while True:
                while trouble is None and len(pending) < AHEAD * self.count:
                    chunk = next(chunks, None)
                    if chunk is None:
                        break
                    if isinstance(chunk, Exception):
                        trouble = chunk
                    else:
                        pending.append((chunk, pool.submit(chunk, how)))
                if not pending:
                    break
                asked, answer = pending.popleft()
                yield from zip(asked, answer.result(), strict=True)
            if trouble is not None:
                raise trouble
        except KeyboardInterrupt:  # else Python would wait for the last answers before it ends
            self.close()
            raise
        finally:
            for _, answer in pending:
                answer.cancel()
            if pool.is_broken:
                self.close()

    def close(self) -> None:
        """Ends the processes; the next pass would start new ones."""
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


def _chunks(items: Iterable[Item], how: Preprocessing) -> Iterator[list[Item] | Exception]:
    """The items in lists; an error comes as the last, since images before it may still be wanted alone."""
    size = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (3 * how.height * how.width)))
    chunk: list[Item] = []
    failed: Exception | None = None
    stream = iter(items)
    while failed is None:
        try:
            chunk.append(next(stream))
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 (raised again where it stands in the order)
            failed = error
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
    if failed is not None:
        yield failed


class _Pool:
    """Some processes, each asked by one thread at a time."""

    def __init__(self, count: int) -> None:
        self.is_broken = False
        self._processes = [_Process() for _ in range(count)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoding")

    def submit(self, items: list[Item], how: Preprocessing) -> Future[list[Outcome]]:
        return self._threads.submit(self._decode, items, how)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    def _decode(self, items: list[Item], how: Preprocessing) -> list[Outcome]:
        process = self._idle.get()
        try:
            return process.decode(items, how)
        except BaseException:
            self.is_broken = True
            raise
        finally:
            self._idle.put(process)


class _Process:
    """One process and the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), *sys.path]
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # In a group of its own, Ctrl-C in a terminal does not reach it: it ends when its connection does.
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={**os.environ, **one_thread}, process_group=0,
        )  # fmt: skip
        theirs.close()
        self._connection = Connection(ours.detach())

    def decode(self, items: list[Item], how: Preprocessing) -> list[Outcome]:
        request = _pickled(items, how)
        try:
            self._connection.send_bytes(request)
            errors: list[Exception | None] | Exception = self._connection.recv()
            if isinstance(errors, Exception):
                raise errors
            pixels = np.empty((errors.count(None), how.height, how.width, 3), dtype=np.uint8)
            self._read(pixels.reshape(-1).data)
        except (EOFError, OSError) as error:
            raise DeployError(self._obituary(items)) from error
        images = iter(pixels)
        return [next(images) if error is None else error for error in errors]

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait(ENDING_S)
        self._connection.close()

    def _read(self, into: memoryview) -> None:
        while into:
            count = os.readv(self._connection.fileno(), [into])
            if not count:
                raise EOFError
            into = into[count:]

    def _obituary(self, items: list[Item]) -> str:
        try:
            code = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:  # it has hung up, and hangs
            self._process.kill()
            code = self._process.wait(ENDING_S)
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        named = items[0].name if len(items) == 1 else f"{items[0].name} ... {items[-1].name}"
        return (
            f"the process that decoded {named} died ({cause}): expected it to live; where memory ran out use fewer "
            "--workers, and with --workers 0 the image that ends it is the one that is reached last"
        )


def _pickled(items: list[Item], how: Preprocessing) -> bytes:
    try:
        return pickle.dumps((how, items), protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DeployError(
            f"{items[0].name} cannot be sent to a decoding process ({error}): expected a `load` that can be pickled, "
            "as a partial of a function of a module is; or decode in one process, --workers 0"
        ) from error
