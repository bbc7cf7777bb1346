"""Arrays in the memory of a device, read from CUDA's array interface or DLPack without a copy; ctypes only.

`cuda.core.utils.StridedMemoryView` (1.2) reads both too, but not for this: it needs the driver and a current context to
read an array interface, also one that is then refused; makes the caller's stream wait before anything is checked; takes
no version 2; and its import loads 400 modules, which a process with GPU arrays of any other library does without.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from wrn_deploy.errors import DeployError

__all__ = ["LEGACY_STREAM", "DeviceArray"]

LEGACY_STREAM = 1  # how both protocols name CUDA's default stream, where 0 could mean two things

# DLPack's device types (dlpack.h, DLDeviceType) and the codes of its data types (DLDataTypeCode).
DEVICES = {1: "cpu", 2: "cuda", 3: "cuda_host", 13: "cuda_managed"}
CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
KINDS = {"i": "int", "u": "uint", "f": "float", "c": "complex", "b": "bool"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceArray:
    """A view of memory that someone else owns.

    Args:
        address: of its first element.
        shape: its dimensions.
        dtype: numpy's name, as in "float32".
        strides: bytes from one element to the next, for each dimension; None: C order without gaps.
        device: "cuda", "cpu", ...; the array interface says "cuda" for managed memory too.
        ordinal: the device's number; None if unknown.
        read_only: whether it must not be written to.
        stream: CUDA handle of the stream whose work must be waited for; None: none.
        owner: the object that keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None
    device: str = "cuda"
    ordinal: int | None = None
    read_only: bool = False
    stream: int | None = None
    owner: object = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, array: object, stream: int = 0) -> Self:
        """Reads any object with `__dlpack__`, or else with `__cuda_array_interface__` (2 or 3).

        Args:
            array: such as a CUDA tensor of PyTorch, or an array of CuPy or Numba.
            stream: the stream that will use it; DLPack makes it wait for pending writes.

        Raises:
            DeployError: it has neither, or describes something that is not supported here.
        """
        if isinstance(array, cls):
            return array
        if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
            return cls._of_dlpack(array, stream)
        interface = getattr(array, "__cuda_array_interface__", None)
        if interface is None:
            raise DeployError(
                f"{type(array).__name__} is not a device array: expected an object with __dlpack__ or "
                "__cuda_array_interface__, as a CUDA tensor of PyTorch"
            )
        return cls._of_interface(interface, array)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return 1 if self.dtype == "bool" else int("".join(filter(str.isdigit, self.dtype))) // 8

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.itemsize

    @property
    def contiguous(self) -> bool:
        """Whether it is in C order without gaps."""
        if self.strides is None or 0 in self.shape:
            return True
        step = self.itemsize
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != step:
                return False
            step *= length
        return True

    def rows(self, start: int, count: int) -> Self:
        """A slice of the first dimension of a contiguous array, in the same memory."""
        assert self.contiguous
        step = math.prod(self.shape[1:]) * self.itemsize
        shape = (count, *self.shape[1:])
        return dataclasses.replace(self, address=self.address + start * step, shape=shape, strides=None)

    @classmethod
    def _of_interface(cls, interface: Mapping[str, Any], owner: object) -> Self:
        """Numba's documentation, "CUDA Array Interface (Version 3)"."""
        try:
            version, stream = interface["version"], interface.get("stream")
            address, read_only = interface["data"]
            shape, strides = tuple(interface["shape"]), interface.get("strides")
            dtype = _dtype_of(interface["typestr"])
        except (LookupError, TypeError, ValueError) as error:
            raise DeployError(f"a __cuda_array_interface__ is damaged ({error!r}): expected version 2 or 3") from error
        if version not in (2, 3):
            raise DeployError(f"__cuda_array_interface__ has version {version}: expected 2 or 3")
        if interface.get("mask") is not None:
            raise DeployError("the device array has a mask: expected one without")
        if stream == 0:
            raise DeployError("__cuda_array_interface__ names stream 0, which it must not: expected 1, 2 or a handle")
        strides = None if strides is None else tuple(strides)
        return cls(
            address=address,
            shape=shape,
            dtype=dtype,
            strides=strides,
            read_only=bool(read_only),
            stream=stream,
            owner=owner,
        )

    @classmethod
    def _of_dlpack(cls, array: Any, stream: int) -> Self:
        """The DLPack specification for Python, "Python Specification for DLPack".

        The capsule is kept and not consumed: its own destructor frees the tensor.
        """
        kind, ordinal = map(int, array.__dlpack_device__())
        device = DEVICES.get(kind, f"device type {kind}")
        consumer = (stream or LEGACY_STREAM) if device.startswith("cuda") and device != "cuda_host" else None
        try:
            try:
                capsule = array.__dlpack__(stream=consumer, max_version=(1, 1))
            except TypeError:  # older than DLPack 1.0
                capsule = array.__dlpack__(stream=consumer)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise DeployError(f"{type(array).__name__} cannot be taken over DLPack: {error}") from error
        tensor, read_only = _tensor_of(capsule)
        count = tensor.ndim
        here = cls(
            address=(tensor.data or 0) + tensor.byte_offset,
            shape=tuple(tensor.shape[:count]) if count else (),
            dtype=_dlpack_dtype(tensor.dtype),
            device=device,
            ordinal=ordinal,
            read_only=read_only,
            owner=capsule,
        )
        if not tensor.strides or not count:
            return here
        return dataclasses.replace(here, strides=tuple(step * here.itemsize for step in tensor.strides[:count]))


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("ordinal", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned; an older DLManagedTensor starts with its tensor."""

    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _tensor_of(capsule: object) -> tuple[_Tensor, bool]:
    """The capsule's tensor, valid while the capsule lives, and whether it is read-only."""
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:  # what follows the version may then be something else
            raise DeployError(f"the array comes as DLPack {managed.major}.{managed.minor}: expected 1.x")
        return managed.tensor, bool(managed.flags & READ_ONLY)
    if _is_valid(capsule, b"dltensor"):
        return _Tensor.from_address(_pointer(capsule, b"dltensor")), False
    raise DeployError(f"__dlpack__ gave {capsule!r}: expected a capsule that nobody has consumed")


def _dlpack_dtype(dtype: _DataType) -> str:
    name = CODES.get(dtype.code)
    if name is None or dtype.lanes != 1 or dtype.bits % 8:
        raise DeployError(
            f"DLPack data type {dtype.code} of {dtype.bits} bits, {dtype.lanes} lanes: expected a plain one"
        )
    return name if name == "bool" else f"{name}{dtype.bits}"


def _dtype_of(typestr: str) -> str:
    """Numpy's name of a data type given as in "<f4"."""
    order, kind, size = typestr[0], typestr[1], int(typestr[2:])
    if kind not in KINDS or (order == ">" and size > 1):
        raise DeployError(f"the device array's elements are {typestr!r}: expected little-endian numbers")
    return KINDS[kind] if kind == "b" else f"{KINDS[kind]}{8 * size}"
