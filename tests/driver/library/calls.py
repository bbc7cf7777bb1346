"""The C++ library in this process, by ctypes, and what tests ask of the TensorRT that it loads."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["CallError", "Library", "Opened", "OurTensorRT"]

CODES = {"uint8": 1, "int32": 2, "int64": 3, "float16": 4, "float32": 5}
NAMES = {code: name for name, code in CODES.items()}
BACKEND, FELL_BACK = 2, 4  # WRN_TEXT_BACKEND, WRN_TEXT_FELL_BACK


class Options(ctypes.Structure):
    """wrn_options."""

    _fields_ = [
        ("size", ctypes.c_size_t), ("backend", ctypes.c_char_p), ("precision", ctypes.c_char_p),
        ("threads", ctypes.c_int32), ("contexts", ctypes.c_int32), ("fallback", ctypes.c_int32),
        ("allow_nonfinite", ctypes.c_int32), ("allow_host_code", ctypes.c_int32),
        ("require_signature", ctypes.c_char_p),
    ]  # fmt: skip


class Described(ctypes.Structure):
    """wrn_description."""

    _fields_ = [
        ("size", ctypes.c_size_t), ("height", ctypes.c_int32), ("width", ctypes.c_int32), ("outputs", ctypes.c_int32),
        ("labels", ctypes.c_int32), ("classes", ctypes.c_int64),
    ]  # fmt: skip


class CTensor(ctypes.Structure):
    """wrn_tensor."""

    _fields_ = [
        ("size", ctypes.c_size_t), ("name", ctypes.c_char * 64), ("dtype", ctypes.c_int32), ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * 8), ("image_bytes", ctypes.c_size_t),
    ]  # fmt: skip


class Images(ctypes.Structure):
    """wrn_images."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("count", ctypes.c_int64), ("dtype", ctypes.c_int32),
    ]  # fmt: skip


class Buffer(ctypes.Structure):
    """wrn_buffer."""

    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


class CSlot(ctypes.Structure):
    """wrn_slot."""

    _fields_ = [
        ("size", ctypes.c_size_t), ("id", ctypes.c_uint64), ("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t),
        ("count", ctypes.c_int64), ("dtype", ctypes.c_int32),
    ]  # fmt: skip


class CallError(Exception):
    """A call that did not return WRN_OK: its status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Library:
    """libwrn_runner.so.1 of a folder; a process has one."""

    def __init__(self, folder: Path) -> None:
        self.c = ctypes.CDLL(str(folder / "lib" / "libwrn_runner.so.1"))
        self.c.wrn_last_error.restype = ctypes.c_char_p
        handle, size = ctypes.c_uint64, ctypes.c_size_t
        self.c.wrn_close.argtypes = self.c.wrn_slot_close.argtypes = [handle]
        self.c.wrn_describe.argtypes = [handle, ctypes.c_void_p]
        self.c.wrn_input.argtypes = self.c.wrn_output.argtypes = [handle, ctypes.c_int32, ctypes.c_void_p]
        self.c.wrn_text.argtypes = [handle, ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p, size, ctypes.c_void_p]
        self.c.wrn_infer.argtypes = [handle, ctypes.c_void_p, ctypes.c_void_p, size]
        self.c.wrn_infer_device.argtypes = [*self.c.wrn_infer.argtypes, ctypes.c_void_p]
        self.c.wrn_slot_open.argtypes = [handle, ctypes.c_int64, ctypes.c_void_p]
        self.c.wrn_warmup.argtypes = [handle, ctypes.c_void_p, size, ctypes.c_int32]

    def check(self, status: int) -> None:
        """Raises CallError unless it is WRN_OK."""
        if status != 0:
            raise CallError(status, self.c.wrn_last_error().decode())

    def open(
        self,
        bundle: Path,
        *,
        backend: str | None = None,
        precision: str | None = None,
        contexts: int = 0,
        fallback: bool = False,
        allow_nonfinite: bool = False,
        allow_host_code: bool = False,
    ) -> Opened:
        """wrn_open."""
        options, handle = Options(size=ctypes.sizeof(Options)), ctypes.c_uint64()
        options.backend = None if backend is None else backend.encode()
        options.precision = None if precision is None else precision.encode()
        options.contexts, options.fallback = contexts, fallback
        options.allow_nonfinite, options.allow_host_code = allow_nonfinite, allow_host_code
        self.check(self.c.wrn_open(str(bundle).encode(), ctypes.byref(options), ctypes.byref(handle)))
        return Opened(self, handle.value)


class Opened:
    """A wrn_runner; a context manager."""

    def __init__(self, library: Library, handle: int) -> None:
        self._library, self._c, self.handle = library, library.c, handle
        about = Described(size=ctypes.sizeof(Described))
        library.check(self._c.wrn_describe(handle, ctypes.byref(about)))
        self.outputs = [self._tensor(self._c.wrn_output, index) for index in range(about.outputs)]

    def input(self, dtype: str) -> CTensor:
        """wrn_input."""
        return self._tensor(self._c.wrn_input, CODES[dtype])

    def text(self, kind: int) -> str:
        """wrn_text."""
        room = ctypes.create_string_buffer(4096)
        self._library.check(self._c.wrn_text(self.handle, kind, 0, room, len(room), None))
        return room.value.decode()

    def run(self, images: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """wrn_infer into all outputs."""
        made = {
            tensor.name.decode(): np.empty((len(images), *tensor.shape[: tensor.rank]), NAMES[tensor.dtype])
            for tensor in self.outputs
        }
        self.infer_into(images, list(made.values()))
        return made

    def predict(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """wrn_infer into the first output."""
        first = self.outputs[0]
        made = np.empty((len(images), *first.shape[: first.rank]), NAMES[first.dtype])
        self.infer_into(images, [made])
        return made

    def infer_into(self, images: npt.NDArray[Any], outputs: Sequence[npt.NDArray[Any]]) -> None:
        """wrn_infer."""
        sent = Images(images.ctypes.data, images.nbytes, len(images), CODES[images.dtype.name])
        into = (Buffer * len(outputs))(*(Buffer(each.ctypes.data, each.nbytes) for each in outputs))
        self._library.check(self._c.wrn_infer(self.handle, ctypes.byref(sent), into, len(outputs)))

    def infer_device(self, images: int, count: int, output: int, stream: int = 0, dtype: str = "float32") -> None:
        """wrn_infer_device with addresses, into the first output."""
        source = self.input(dtype)
        sent = Images(images, count * source.image_bytes, count, CODES[dtype])
        into = Buffer(output, count * self.outputs[0].image_bytes)
        self._library.check(self._c.wrn_infer_device(self.handle, ctypes.byref(sent), ctypes.byref(into), 1, stream))

    def slot_open(self, count: int) -> tuple[int, npt.NDArray[Any]]:
        """wrn_slot_open: the id, and the memory as an array."""
        slot = CSlot(size=ctypes.sizeof(CSlot))
        self._library.check(self._c.wrn_slot_open(self.handle, count, ctypes.byref(slot)))
        tensor = self.input(NAMES[slot.dtype])
        memory = (ctypes.c_char * slot.bytes).from_address(slot.data)
        return slot.id, np.frombuffer(memory, NAMES[slot.dtype]).reshape(count, *tensor.shape[: tensor.rank])

    def slot_close(self, slot: int) -> None:
        """wrn_slot_close."""
        self._library.check(self._c.wrn_slot_close(slot))

    @contextlib.contextmanager
    def slot(self, count: int) -> Iterator[npt.NDArray[Any]]:
        """A slot's memory."""
        number, memory = self.slot_open(count)
        try:
            yield memory
        finally:
            self.slot_close(number)

    def warmup(self, batches: Sequence[int], iterations: int) -> None:
        """wrn_warmup."""
        sizes = (ctypes.c_int64 * len(batches))(*batches)
        self._library.check(self._c.wrn_warmup(self.handle, sizes, len(batches), iterations))

    def close(self) -> None:
        """wrn_close."""
        self._library.check(self._c.wrn_close(self.handle))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._c.wrn_close(self.handle)

    def _tensor(self, call: Any, which: int) -> CTensor:
        made = CTensor(size=ctypes.sizeof(CTensor))
        self._library.check(call(self.handle, which, ctypes.byref(made)))
        return made


class OurTensorRT:
    """The library of nvinfer.cpp that the C++ library has loaded."""

    def __init__(self, file: Path) -> None:
        self._c = ctypes.CDLL(str(file))

    def fail(self, call: str, *, after: int = 0) -> None:
        """Makes a call fail once, after it has succeeded `after` times."""
        self._c.fake_fail(call.encode(), after)

    def batches(self) -> list[int]:
        """Of the inferences that were started since the last call, captures among them."""
        room = (ctypes.c_long * 4096)()
        return list(room[: self._c.fake_batches(room, len(room))])

    def alive(self) -> tuple[int, int]:
        """Runtimes and engines."""
        counts = (ctypes.c_int * 3)()
        self._c.fake_alive(counts)
        return counts[0], counts[1]

    def captures(self) -> int:
        """CUDA graphs that TensorRT-RTX has captured itself so far."""
        counts = (ctypes.c_int * 3)()
        self._c.fake_alive(counts)
        return int(counts[2])
