"""Lends siblings of one opened backend to threads, and runs device arrays on one; a bounded number."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Backend, DeviceBackend
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.spec import TensorSpec

__all__ = ["Pool", "named_outputs", "predict_on_device"]


class Pool:
    """At most `size` siblings, including `first`; when all are lent, callers wait.

    The last one returned is lent first, so that a service with one thread never creates a second.
    """

    def __init__(self, first: Backend, size: int) -> None:
        self.first = first
        self.size = size
        self._idle = [first]
        self._made = 1
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Backend]:
        """A backend for this thread alone.

        Raises:
            DeployError: the pool is closed, or another sibling cannot be opened.
        """
        backend = self._take()
        try:
            yield backend
        finally:
            with self._changed:
                self._idle.append(backend)
                self._changed.notify()

    def fill(self) -> list[Backend]:
        """Creates all siblings, so that no later caller waits for that, and returns the idle ones.

        No other thread may use the pool meanwhile.
        """
        with self._changed:
            while self._made < self.size and not self._closed:
                self._idle.append(self.first.sibling())
                self._made += 1
            return list(self._idle)

    def close(self) -> None:
        """Waits for the lent ones, then closes all; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._made)
            while self._idle:
                self._idle.pop().close()
                self._made -= 1

    def _take(self) -> Backend:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._idle or self._made < self.size)
            if self._closed:
                raise DeployError("this runner is closed: open the bundle again")
            if self._idle:
                return self._idle.pop()
            self._made += 1
        try:
            return self.first.sibling()
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify()
            raise


def named_outputs(out: object | Mapping[str, object], outputs: Sequence[TensorSpec]) -> dict[str, object]:
    """The caller's arrays by the outputs' names, in their order: one array for the first output, or a map for all.

    Raises:
        DeployError: the map has other names.
    """
    if not isinstance(out, Mapping):
        return {outputs[0].name: out}
    names = [output.name for output in outputs]
    if set(out) != set(names):
        raise DeployError(f"out has {', '.join(map(str, out)) or 'nothing'}: expected {' and '.join(names)}")
    return {name: out[name] for name in names}


def predict_on_device(pool: Pool, opened: str, images: object, out: object | Mapping[str, object], stream: int) -> None:
    """Starts the inference, in parts if the batch is too large for the backend; see `Runner.predict_on_device`.

    `opened` names the backend and precision in an error, as in "onnxruntime fp32".
    """
    first = pool.first
    if not isinstance(first, DeviceBackend):
        raise DeployError(
            f"{opened} does not take arrays on a GPU: open the bundle with the backend tensorrt or tensorrt_rtx"
        )
    arrays = [DeviceArray.of(each, stream) for each in (images, *named_outputs(out, first.outputs).values())]
    parts = _parts(arrays, first.batches[-1])
    for source, *targets in parts:
        first.check_device_arrays(source, tuple(targets))
    with pool.lend() as backend:
        assert isinstance(backend, DeviceBackend)
        for source, *targets in parts:
            backend.infer_on_device(source, tuple(targets), stream)


def _parts(arrays: list[DeviceArray], limit: int) -> list[list[DeviceArray]]:
    """Parts of at most `limit` images; arrays that cannot be split stay whole, for the check to refuse."""
    count = arrays[0].shape[0] if arrays[0].shape else 0
    if count <= limit or not all(each.contiguous and each.shape[:1] == (count,) for each in arrays):
        return [arrays]
    return [[each.rows(start, min(limit, count - start)) for each in arrays] for start in range(0, count, limit)]
