"""Decodes images in worker processes, which a hostile image may end, and yields them in order; no torch."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import CorruptImage, Item
from wrn_deploy.data.containers.apart import EXIT_TIMEOUT_S, how_it_ended
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.budget import budget
from wrn_deploy.machine import usable_cores
from wrn_deploy.process.children import Child
from wrn_deploy.spec import Preprocessing

__all__ = ["Decoders", "Outcome", "choose_workers"]

CHUNK_BYTES, CHUNK_IMAGES = 2**20, 64  # the maximum requested of a process at once
AHEAD = 3  # chunks that are requested of each process before they are needed
MIN_IMAGES = 64  # fewer are decoded before a second process has started

# Searches modules where the parent does, not in the current folder, as `-m` would.
PROGRAM = (
    "import sys; _, socket, *sys.path = sys.argv; from wrn_deploy.data.decoding import process; "
    "process.serve(int(socket))"
)

Outcome = npt.NDArray[np.uint8] | Exception


def choose_workers(asked: int | None, preprocessing: Preprocessing, images: int) -> int:
    """Returns `asked`; if it is None, one process per core for at least 64 images that are resized, else 0.

    With 0 there is one for encoded images alone, see `Decoders`.

    Images that already have the size of the network's input are small: one process needs 0.02 (pixels) to 0.08 ms
    (JPEG) each, and sending the pixels takes longer than decoding them.
    """
    if asked is not None:
        return asked
    return 0 if preprocessing.resize is None or images < MIN_IMAGES else usable_cores()


class Decoders:
    """Processes that decode images. They start with the first image, and end with `close`, this object or this process.

    One pass after another can use them; a pass that was left early does not affect the next one. An image that ends its
    process, or takes more than the budget's seconds, is corrupt, and the images around it are decoded again.

    Args:
        count: the number of processes. With 0, encoded images go to one process, so that none can end this one; images
            that are arrays already are fitted in this one.
    """

    def __init__(self, count: int) -> None:
        if count < 0:
            raise UsageError(f"{count} decoding processes: expected 0 (a single one) or more")
        self.count = count
        self._pool: _Pool | None = None
        self._end: weakref.finalize[[], Decoders] | None = None

    def fit(self, items: Iterable[Item], preprocessing: Preprocessing) -> Iterator[tuple[Item, Outcome]]:
        """Yields each item with its pixels, uint8 (height, width, 3) as of `preprocess.fit_image`, or with its error.

        At most `AHEAD` chunks of about a megabyte per process are in flight. An error of `items` itself is raised at
        its place in the order.

        Raises:
            DeployError: a process does not start, or an item cannot be sent to it.
        """
        pending: deque[tuple[list[Item], Future[list[Outcome]]]] = deque()
        failed: Exception | None = None
        try:
            for chunk in _chunks(items, preprocessing):
                if isinstance(chunk, Exception):
                    failed = chunk
                    break
                pending.append((chunk, self._submit(chunk, preprocessing)))
                if len(pending) == AHEAD * max(1, self.count):
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
            if self._pool is not None and self._pool.is_broken:
                self.close()

    def start(self) -> None:
        """Starts the processes, which takes them 0.2 s, while the caller does something else."""
        self._started()

    def close(self) -> None:
        """Ends the processes; another pass would start new ones."""
        if self._end is not None:
            self._end()
        self._pool = self._end = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _submit(self, chunk: list[Item], preprocessing: Preprocessing) -> Future[list[Outcome]]:
        if self.count or any(isinstance(item.load, Encoded) for item in chunk):
            return self._started().submit(chunk, preprocessing)
        done: Future[list[Outcome]] = Future()
        done.set_result(fit_items(chunk, preprocessing))
        return done

    def _started(self) -> _Pool:
        if self._pool is None:
            self._pool = _Pool(max(1, self.count))
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


def fit_items(items: list[Item], preprocessing: Preprocessing) -> list[Outcome]:
    """Fits images in this process, as `fit_item` does; an error stands for its image."""
    from wrn_deploy.data.preprocess import fit_item

    outcomes: list[Outcome] = []
    for item in items:
        try:
            outcomes.append(fit_item(item, preprocessing))
        except Exception as error:  # noqa: BLE001 (raised again at its place in the order)
            outcomes.append(error)
    return outcomes


class _Pool:
    """Some processes, each used by one thread at a time; one that died is replaced."""

    def __init__(self, count: int) -> None:
        self.is_broken = False
        self._is_closed = False
        self._lock = threading.Lock()
        self._processes: set[_Process] = set()
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(count):
            self._idle.put(self._new())
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoding")

    def submit(self, items: list[Item], preprocessing: Preprocessing) -> Future[list[Outcome]]:
        return self._threads.submit(self._decode, items, preprocessing)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    def _decode(self, items: list[Item], preprocessing: Preprocessing) -> list[Outcome]:
        process = self._idle.get()
        try:
            try:
                return process.decode(items, preprocessing)
            except _Died as died:
                process = self._new(process)
                if len(items) == 1:
                    return [died.of(items[0])]
            outcomes: list[Outcome] = []
            for item in items:  # which of them was it?
                try:
                    outcomes += process.decode([item], preprocessing)
                except _Died as died:
                    outcomes.append(died.of(item))
                    process = self._new(process)
        except BaseException:
            self.is_broken = True
            raise
        else:
            return outcomes
        finally:
            self._idle.put(process)

    def _new(self, instead_of: _Process | None = None) -> _Process:
        with self._lock:
            if self._is_closed:
                raise DeployError("the decoding processes were closed: expected them to be open")
            if instead_of is not None:
                self._processes.remove(instead_of)
                instead_of.close()
            process = _Process()
            self._processes.add(process)
            return process


class _Died(Exception):  # noqa: N818 (it names what was met)
    """A process died of the images it was given; `cause` is its signal or exit code."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self._cause = cause

    def of(self, item: Item) -> CorruptImage:
        """The error that names the image."""
        if self._cause == "SIGALRM":
            most = budget().seconds
            return CorruptImage(
                f"{item.name} takes more than {most} seconds to decode: the limit is seconds={most}; if you trust the "
                "file, raise it with `wrn-deploy --limit seconds=NUMBER ...`"
            )
        more = "; if memory ran out, use fewer --workers" if self._cause == "SIGKILL" else ""
        return CorruptImage(
            f"{item.name} crashed the process that decoded it ({self._cause}): expected an intact image file{more}"
        )


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
            raise _Died(how_it_ended(self._process)) from error
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
