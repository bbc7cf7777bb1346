"""What the C library calls in the Python it has started; numpy only."""

from __future__ import annotations

import itertools
import os
import warnings
from typing import Any

import numpy as np

from wrn_deploy.embed.guarded import guarded, say_nothing
from wrn_deploy.embed.opened_runner import CTensor, OpenedRunner, describe_runner
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.runtime.backend import Array
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.runtime.runner import Runner

__all__ = ["ABI_VERSION", "connect"]

ABI_VERSION = 1  # native/wrn_runner.h has the same
DTYPES = ("uint8", "int32", "int64", "float16", "float32")  # those with a WRN_ constant


def connect(ffi: Any, lib: Any, abi_version: int) -> None:
    """Connects the functions that cffi exports to those of `Calls`; the library calls it once, as it starts.

    Raises:
        MachineError: the library was built by another version of this package.
    """
    if abi_version != ABI_VERSION:
        raise MachineError(
            f"the library has ABI {abi_version}, this wrn-deploy {ABI_VERSION}: run `wrn-deploy embed` again"
        )
    # wrn_text reports a fallback, and a library prints nothing; other modules' warnings stay.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"wrn_deploy\.embed\.")
    calls = Calls(ffi, lib)
    exported = (calls.open, calls.close, calls.describe, calls.input, calls.output, calls.text)
    for call in (*exported, calls.infer, calls.infer_device, calls.warmup):
        called = f"wrn_core_{call.__name__}"
        ffi.def_extern(called, error=lib.WRN_INTERNAL, onerror=say_nothing)(guarded(ffi, lib, call))


class Calls:
    """The functions behind the header; a handle is a key of a table, so that a stale one is an error."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi = ffi
        self._lib = lib
        self._codes = {name: getattr(lib, f"WRN_{name.upper()}") for name in DTYPES}
        self._dtypes = {code: name for name, code in self._codes.items()}
        self._runners: dict[int, OpenedRunner] = {}
        self._handles = itertools.count(1)

    def open(self, bundle: Any, options: Any, runner: Any) -> None:
        """Opens a bundle and writes its handle to `runner`."""
        for name in ("threads", "contexts"):
            if getattr(options, name) < 0:
                raise UsageError(f"{name} is {getattr(options, name)}: expected at least 1, or 0 for the default")
        made = Runner.open(
            os.fsdecode(self._ffi.string(bundle)),
            precision=self._string(options.precision, "precision"),
            backend=self._string(options.backend, "backend"),
            threads=options.threads or None,
            contexts=options.contexts or None,
            fallback=bool(options.fallback),
        )
        handle = next(self._handles)
        self._runners[handle] = describe_runner(made)
        runner[0] = handle

    def close(self, runner: int) -> None:
        """Closes a runner: its handle is invalid at once, its memory is freed when its calls are done."""
        made = self._opened(runner)
        if self._runners.pop(runner, None) is not None:  # another thread may have been faster
            made.runner.close()

    def describe(self, runner: int, description: Any) -> None:
        """Fills a wrn_description."""
        made = self._opened(runner)
        spec = made.runner.bundle.spec
        description.height, description.width = spec.preprocessing.height, spec.preprocessing.width
        description.outputs, description.labels = len(made.outputs), len(spec.labels)
        description.classes = spec.classes

    def input(self, runner: int, dtype: int, tensor: Any) -> None:
        """Fills a wrn_tensor."""
        self._fill(tensor, self._opened(runner).input(self._dtype(dtype)))

    def output(self, runner: int, index: int, tensor: Any) -> None:
        """Fills a wrn_tensor."""
        self._fill(tensor, self._opened(runner).output(index))

    def text(self, runner: int, what: int, index: int, buffer: Any, capacity: int, needed: Any) -> None:
        """Copies a text and its final 0."""
        data = self._text_of(self._opened(runner), what, index).encode("utf-8", "surrogateescape") + b"\0"
        needed[0] = len(data)
        if buffer == self._ffi.NULL:
            return
        if len(data) > capacity:
            raise UsageError(f"the buffer has {capacity} bytes: expected at least {len(data)}")
        self._ffi.memmove(buffer, data, len(data))

    def infer(self, runner: int, images: Any, outputs: Any, n_outputs: int) -> None:
        """Runs a batch in host memory."""
        made = self._opened(runner)
        source, wanted = self._checked(made, images, outputs, n_outputs)
        batch = self._host(images.data, source, images.count)
        into = [self._host(outputs[at].data, tensor, images.count) for at, tensor in enumerate(wanted)]
        made.runner.predict_into(batch, _named(wanted, into, len(made.outputs)))

    def infer_device(self, runner: int, images: Any, outputs: Any, n_outputs: int, stream: Any) -> None:
        """Runs a batch in the memory of a CUDA device."""
        made = self._opened(runner)
        source, wanted = self._checked(made, images, outputs, n_outputs)
        own = made.runner.inputs[0]
        if source.name != own.name:
            raise UsageError(
                f"images on a device are {source.dtype}: expected {own.dtype} {own.shape} each, normalised"
            )
        batch = self._device(images.data, source, images.count)
        into = [self._device(outputs[at].data, tensor, images.count) for at, tensor in enumerate(wanted)]
        address = int(self._ffi.cast("uintptr_t", stream))
        made.runner.predict_on_device(batch, _named(wanted, into, len(made.outputs)), address)

    def warmup(self, runner: int, batches: Any, n: int, iterations: int) -> None:
        """Runs blank images."""
        made = self._opened(runner)
        if iterations < 1:
            raise UsageError(f"{iterations} iterations: expected at least 1")
        made.runner.warmup([batches[at] for at in range(n)], iterations)

    def _opened(self, runner: int) -> OpenedRunner:
        made = self._runners.get(runner)
        if made is None:
            raise UsageError(f"runner {runner} is not open: expected one that wrn_open gave and wrn_close has not had")
        return made

    def _checked(
        self, made: OpenedRunner, images: Any, outputs: Any, n_outputs: int
    ) -> tuple[CTensor, tuple[CTensor, ...]]:
        """The input and the outputs of a call, whose buffers are checked: sizes, and no NULL."""
        source, wanted, count = made.input(self._dtype(images.dtype)), made.wanted(n_outputs), images.count
        if count < 1:
            raise UsageError(f"{count} images: expected at least 1")
        if images.data == self._ffi.NULL:
            raise UsageError("images.data is NULL")
        if images.bytes != count * source.image_bytes:
            need = f"{count} x {source.image_bytes} = {count * source.image_bytes}"
            raise UsageError(f"images have {images.bytes} bytes: expected {need}, {source.dtype} {source.shape} each")
        for at, tensor in enumerate(wanted):
            if outputs[at].data == self._ffi.NULL:
                raise UsageError(f"the buffer for {tensor.name} is NULL")
            if outputs[at].bytes < count * tensor.image_bytes:
                need = f"{count} x {tensor.image_bytes} = {count * tensor.image_bytes}"
                raise UsageError(
                    f"the buffer for {tensor.name} has {outputs[at].bytes} bytes: expected at least {need}"
                )
        return source, wanted

    def _host(self, data: Any, tensor: CTensor, count: int) -> Array:
        memory = self._ffi.buffer(data, count * tensor.image_bytes)
        return np.frombuffer(memory, tensor.dtype).reshape(count, *tensor.shape)

    def _device(self, data: Any, tensor: CTensor, count: int) -> DeviceArray:
        address = int(self._ffi.cast("uintptr_t", data))
        return DeviceArray(address=address, shape=(count, *tensor.shape), dtype=tensor.dtype.name)

    def _fill(self, target: Any, tensor: CTensor) -> None:
        name, room = tensor.name.encode(), len(target.name)
        if len(name) >= room or len(tensor.shape) > len(target.shape) or tensor.dtype.name not in self._codes:
            raise DeployError(f"{tensor.name} is {tensor.dtype} {tensor.shape}: too much for a wrn_tensor")
        target.name, target.dtype, target.rank = name, self._codes[tensor.dtype.name], len(tensor.shape)
        for at, size in enumerate(tensor.shape):
            target.shape[at] = size
        target.image_bytes = tensor.image_bytes

    def _text_of(self, made: OpenedRunner, what: int, index: int) -> str:
        lib, runner = self._lib, made.runner
        if what == lib.WRN_TEXT_LABEL:
            classes = runner.bundle.spec.classes
            if not 0 <= index < classes:
                raise UsageError(f"class {index}: this network has {classes}, counted from 0")
            return runner.labels[index] if runner.labels else ""
        if what == lib.WRN_TEXT_MODEL:
            return runner.bundle.spec.name
        if what == lib.WRN_TEXT_BACKEND:
            return runner.backend
        if what == lib.WRN_TEXT_PRECISION:
            return runner.precision.value
        if what == lib.WRN_TEXT_FELL_BACK:
            return runner.fell_back or ""
        raise UsageError(f"text {what}: expected a WRN_TEXT_ constant")

    def _dtype(self, code: int) -> str:
        if code not in self._dtypes:
            known = ", ".join(f"WRN_{name.upper()}" for name in DTYPES)
            raise UsageError(f"dtype {code}: expected one of {known}")
        return self._dtypes[code]

    def _string(self, text: Any, what: str) -> str | None:
        if text == self._ffi.NULL:
            return None
        try:
            return str(self._ffi.string(text).decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"{what} is no UTF-8 ({error})") from error


def _named(wanted: tuple[CTensor, ...], arrays: list[Any], count: int) -> Any:
    """The arrays as `Runner` takes them: one for the first output, or a dictionary of all `count` outputs."""
    return dict(zip((tensor.name for tensor in wanted), arrays, strict=True)) if len(wanted) == count else arrays[0]
