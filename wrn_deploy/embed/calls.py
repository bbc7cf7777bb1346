"""The Python functions that the C library calls, and how their errors become codes and texts; numpy only."""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from wrn_deploy.embed.opened_runner import CTensor, OpenedRunner, describe_runner
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.formatting import printable
from wrn_deploy.runtime.backend import Array
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.runtime.runner import Runner

__all__ = ["ABI_VERSION", "connect"]

ABI_VERSION = 2  # native/wrn_runner.h has the same
DTYPES = ("uint8", "int32", "int64", "float16", "float32")  # those with a WRN_ constant


def connect(ffi: Any, lib: Any, abi_version: int) -> None:
    """Connects the functions that cffi exports to those of `Calls`; the library calls it once, as it starts.

    Raises:
        MachineError: the library was built by another version of this package.
    """
    if abi_version != ABI_VERSION:
        raise MachineError(
            f"the library has ABI {abi_version}, this wrn-deploy {ABI_VERSION}: run `wrn-deploy embed --python` again"
        )
    # wrn_text reports a fallback, and a library prints nothing; other modules' warnings stay.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"wrn_deploy\.embed\.")
    calls = Calls(ffi, lib)
    exported = (calls.open, calls.close, calls.describe, calls.input, calls.output, calls.text)
    inferring = (calls.infer, calls.infer_device, calls.warmup, calls.slot_open, calls.slot_close)
    for call in (*exported, *inferring):
        called = f"wrn_core_{call.__name__}"
        ffi.def_extern(called, error=lib.WRN_INTERNAL, onerror=_say_nothing)(_guarded(ffi, lib, call))


class Calls:
    """The functions behind the header; a handle is a key of a table, so that a stale one is an error."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi = ffi
        self._lib = lib
        self._codes = {name: getattr(lib, f"WRN_{name.upper()}") for name in DTYPES}
        self._dtypes = {code: name for name, code in self._codes.items()}
        self._runners: dict[int, OpenedRunner] = {}
        self._slots: dict[int, ExitStack] = {}
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
            allow_nonfinite=bool(options.allow_nonfinite),
            require_signature=self._path(options.require_signature),
            allow_host_code=bool(options.allow_host_code),
        )
        handle = next(self._handles)
        self._runners[handle] = describe_runner(made)
        runner[0] = handle

    def close(self, runner: int) -> None:
        """Closes a runner: its handle is invalid at once, its memory is freed when its calls are done."""
        opened = self._opened(runner)
        if self._runners.pop(runner, None) is not None:  # another thread may have been faster
            opened.runner.close()

    def describe(self, runner: int, description: Any) -> None:
        """Fills a wrn_description."""
        opened = self._opened(runner)
        spec = opened.runner.bundle.spec
        description.height, description.width = spec.preprocessing.height, spec.preprocessing.width
        description.outputs, description.labels = len(opened.outputs), len(spec.labels)
        description.classes = spec.classes

    def input(self, runner: int, dtype: int, tensor: Any) -> None:
        """Fills a wrn_tensor."""
        self._fill(tensor, self._opened(runner).input(self._dtype(dtype)))

    def output(self, runner: int, index: int, tensor: Any) -> None:
        """Fills a wrn_tensor."""
        self._fill(tensor, self._opened(runner).output(index))

    def text(self, runner: int, kind: int, index: int, buffer: Any, capacity: int, needed: Any) -> None:
        """Copies a text and its final 0."""
        data = self._text_of(self._opened(runner), kind, index).encode("utf-8", "surrogateescape") + b"\0"
        needed[0] = len(data)
        if buffer == self._ffi.NULL:
            return
        if len(data) > capacity:
            raise UsageError(f"the buffer has {capacity} bytes: expected at least {len(data)}")
        self._ffi.memmove(buffer, data, len(data))

    def infer(self, runner: int, images: Any, outputs: Any, n_outputs: int) -> None:
        """Runs a batch in host memory."""
        opened = self._opened(runner)
        source, targets = self._checked(opened, images, outputs, n_outputs)
        batch = self._host(images.data, source, images.count)
        into = [self._host(outputs[at].data, target, images.count) for at, target in enumerate(targets)]
        opened.runner.predict_into(batch, _named(targets, into, len(opened.outputs)))

    def slot_open(self, runner: int, count: int, slot: Any) -> None:
        """Lends memory for images and fills a wrn_slot."""
        opened = self._opened(runner)
        source = opened.input(opened.runner.inputs[0].dtype)
        lent = ExitStack()
        images = lent.enter_context(opened.runner.slot(count))
        slot.id, slot.count, slot.bytes = next(self._handles), count, images.nbytes
        slot.data = self._ffi.cast("void *", images.__array_interface__["data"][0])
        slot.dtype = self._codes[source.dtype.name]
        self._slots[slot.id] = lent

    def slot_close(self, slot: int) -> None:
        """Takes a slot's memory back."""
        lent = self._slots.pop(slot, None)
        if lent is None:
            raise UsageError(f"slot {slot} is not open: expected an id that wrn_slot_open returned")
        lent.close()

    def infer_device(self, runner: int, images: Any, outputs: Any, n_outputs: int, stream: Any) -> None:
        """Runs a batch in the memory of a CUDA device."""
        opened = self._opened(runner)
        source, targets = self._checked(opened, images, outputs, n_outputs)
        own = opened.runner.inputs[0]
        if source.name != own.name:
            raise UsageError(
                f"images on a device are {source.dtype}: expected {own.dtype} {own.shape} each, normalised"
            )
        batch = self._device(images.data, source, images.count)
        into = [self._device(outputs[at].data, target, images.count) for at, target in enumerate(targets)]
        address = int(self._ffi.cast("uintptr_t", stream))
        opened.runner.predict_on_device(batch, _named(targets, into, len(opened.outputs)), address)

    def warmup(self, runner: int, batches: Any, n: int, iterations: int) -> None:
        """Runs blank images."""
        opened = self._opened(runner)
        if iterations < 1:
            raise UsageError(f"{iterations} iterations: expected at least 1")
        opened.runner.warmup([batches[at] for at in range(n)], iterations)

    def _opened(self, runner: int) -> OpenedRunner:
        opened = self._runners.get(runner)
        if opened is None:
            raise UsageError(f"runner {runner} is not open: expected one from wrn_open that is not closed yet")
        return opened

    def _checked(
        self, opened: OpenedRunner, images: Any, outputs: Any, n_outputs: int
    ) -> tuple[CTensor, list[CTensor]]:
        """The input and the outputs of a call, whose buffers are checked: sizes, and no NULL."""
        source, targets, count = opened.input(self._dtype(images.dtype)), opened.targets(n_outputs), images.count
        if count < 1:
            raise UsageError(f"{count} images: expected at least 1")
        if images.data == self._ffi.NULL:
            raise UsageError("images.data is NULL")
        if images.bytes != count * source.image_bytes:
            size = f"{count} x {source.image_bytes} = {count * source.image_bytes}"
            raise UsageError(f"images have {images.bytes} bytes: expected {size}, {source.dtype} {source.shape} each")
        for at, target in enumerate(targets):
            size = count * target.image_bytes
            if outputs[at].data == self._ffi.NULL:
                raise UsageError(f"the buffer for {target.name} is NULL")
            if outputs[at].bytes < size:
                found = f"the buffer for {target.name} has {outputs[at].bytes} bytes"
                raise UsageError(f"{found}: expected at least {count} x {target.image_bytes} = {size}")
        return source, targets

    def _host(self, data: Any, tensor: CTensor, count: int) -> Array:
        memory = self._ffi.buffer(data, count * tensor.image_bytes)
        return np.frombuffer(memory, tensor.dtype).reshape(count, *tensor.shape)

    def _device(self, data: Any, tensor: CTensor, count: int) -> DeviceArray:
        address = int(self._ffi.cast("uintptr_t", data))
        return DeviceArray(address=address, shape=(count, *tensor.shape), dtype=tensor.dtype.name)

    def _fill(self, target: Any, tensor: CTensor) -> None:
        name, room = tensor.name.encode(), len(target.name)
        if len(name) >= room or len(tensor.shape) > len(target.shape) or tensor.dtype.name not in self._codes:
            raise DeployError(f"{tensor.name} is {tensor.dtype} {tensor.shape}: too large for a wrn_tensor")
        target.name, target.dtype, target.rank = name, self._codes[tensor.dtype.name], len(tensor.shape)
        for at, size in enumerate(tensor.shape):
            target.shape[at] = size
        target.image_bytes = tensor.image_bytes

    def _text_of(self, opened: OpenedRunner, kind: int, index: int) -> str:
        lib, runner, spec = self._lib, opened.runner, opened.runner.bundle.spec
        if kind == lib.WRN_TEXT_LABEL:
            if not 0 <= index < spec.classes:
                raise UsageError(f"class {index}: this network has {spec.classes}, counted from 0")
            return runner.labels[index] if runner.labels else ""
        texts = {
            lib.WRN_TEXT_MODEL: spec.name,
            lib.WRN_TEXT_BACKEND: runner.backend,
            lib.WRN_TEXT_PRECISION: runner.precision.value,
            lib.WRN_TEXT_FELL_BACK: runner.fell_back or "",
        }
        if kind not in texts:
            raise UsageError(f"text {kind}: expected a WRN_TEXT_ constant")
        return texts[kind]

    def _dtype(self, code: int) -> str:
        if code not in self._dtypes:
            known = ", ".join(f"WRN_{name.upper()}" for name in DTYPES)
            raise UsageError(f"dtype {code}: expected one of {known}")
        return self._dtypes[code]

    def _path(self, text: Any) -> Path | None:
        return None if text == self._ffi.NULL else Path(os.fsdecode(self._ffi.string(text)))

    def _string(self, text: Any, name: str) -> str | None:
        if text == self._ffi.NULL:
            return None
        try:
            return str(self._ffi.string(text).decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"{name} is not UTF-8 ({error})") from error


def _named(targets: list[CTensor], arrays: list[Any], count: int) -> Any:
    """The arrays as `Runner` takes them: one for the first output, or a dictionary of all `count` outputs."""
    return dict(zip((target.name for target in targets), arrays, strict=True)) if len(targets) == count else arrays[0]


def _guarded(ffi: Any, lib: Any, call: Callable[..., None]) -> Callable[..., int]:
    """`call` with two more arguments, the buffer for an error's text and its size; returns the status."""

    @functools.wraps(call)
    def call_it(*arguments: Any) -> int:
        *given, message, room = arguments
        try:
            call(*given)
        except DeployError as error:
            _write(ffi, str(error), message, room)
            return error.exit_code
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            _write(ffi, f"cannot read{where} ({error.strerror or error})", message, room)
            return int(lib.WRN_ERROR)
        except MemoryError as error:
            _write(ffi, f"out of memory ({error}): free some, or use smaller batches", message, room)
            return int(lib.WRN_MACHINE)
        except BaseException as error:  # noqa: BLE001 (nothing of Python's may reach the host)
            _write(ffi, f"a bug in wrn-deploy: {type(error).__name__}: {error}", message, room)
            return int(lib.WRN_INTERNAL)
        return int(lib.WRN_OK)

    return call_it


def _write(ffi: Any, text: str, message: Any, room: int) -> None:
    """Copies as much of a text, printable, as fits, cut between characters."""
    data = printable(text).encode()[: room - 1]
    data = data.decode("utf-8", "ignore").encode() + b"\0"
    ffi.memmove(message, data, len(data))


def _say_nothing(*_exception: object) -> None:
    """Keeps cffi from printing its own errors to stderr; the call returns WRN_INTERNAL."""
