"""Arrays of others: read rightly from DLPack and CUDA's array interface, given back once, refused with a reason."""

from __future__ import annotations

import ctypes
import gc
import struct
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.device_array import DeviceArray


def bytes_at(array: DeviceArray) -> bytes:
    """What lies at its address, for an array in the CPU's memory without gaps."""
    return ctypes.string_at(array.address, array.nbytes)


class OldStyle:
    """An array whose library knows nothing of DLPack 1.0."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        assert stream is None
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int8", "int64", "int32", "bool"])
def test_numpys_arrays_are_read_rightly(dtype: str) -> None:
    array = (np.random.default_rng(0).random((2, 3, 4)) * 100).astype(dtype)
    for holder in (array, OldStyle(array)):
        found = DeviceArray.of(holder)
        assert (found.shape, found.dtype, found.device, found.ordinal) == ((2, 3, 4), dtype, "cpu", 0)
        assert found.contiguous
        assert (found.nbytes, found.itemsize) == (array.nbytes, array.itemsize)
        assert found.address == array.ctypes.data
        assert bytes_at(found) == array.tobytes()


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float32, "float32"), (torch.bfloat16, "bfloat16"), (torch.uint8, "uint8"), (torch.int64, "int64")],
)
def test_torchs_tensors_are_read_rightly(dtype: torch.dtype, name: str) -> None:
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)
    found = DeviceArray.of(tensor)
    assert (found.address, found.shape, found.dtype) == (tensor.data_ptr(), (2, 3, 4), name)
    assert found.contiguous


def test_offsets_and_strides_are_kept() -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    part = DeviceArray.of(array[1:, :, 1::2])
    assert part.address == array.ctypes.data + 4 * (20 + 1)
    assert (part.shape, part.strides, part.contiguous) == ((2, 4, 2), (80, 20, 8), False)
    assert DeviceArray.of(array[1:]).contiguous
    assert not DeviceArray.of(np.asfortranarray(array)).contiguous
    assert not DeviceArray.of(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)).contiguous
    assert DeviceArray.of(np.asfortranarray(array[:, :1, :1])).contiguous, "dimensions of 1 may have any stride"
    whole = DeviceArray.of(array)
    assert bytes_at(whole.rows(1, 2)) == array[1:3].tobytes()


def test_an_array_that_must_not_be_written_to_says_so() -> None:
    array = np.zeros(4, dtype=np.float32)
    assert not DeviceArray.of(array).read_only
    array.flags.writeable = False
    assert DeviceArray.of(array).read_only
    with pytest.raises(DeployError, match=r"OldStyle cannot be taken over DLPack: .*readonly"):
        DeviceArray.of(OldStyle(array))


@pytest.mark.parametrize("wrap", [lambda array: array, OldStyle])
def test_what_was_borrowed_is_given_back(wrap: Callable[[npt.NDArray[Any]], object]) -> None:
    array = np.zeros(100)
    before = sys.getrefcount(array)
    found = DeviceArray.of(wrap(array))
    part = found.rows(0, 10)
    del found
    gc.collect()
    assert sys.getrefcount(array) > before, "the part lost its memory"
    del part
    gc.collect()
    assert sys.getrefcount(array) == before


def test_a_tensor_lives_as_long_as_it_is_borrowed() -> None:
    tensor = torch.arange(1000, dtype=torch.float32)
    wanted = tensor.numpy().tobytes()
    found = DeviceArray.of(tensor)
    del tensor
    gc.collect()
    _ = [torch.zeros(1000) for _ in range(10)]
    assert bytes_at(found) == wanted


class Maker:
    """Gives one capsule of what `packed` holds, with the given name, and counts how often it is deleted."""

    def __init__(self, packed: bytes, name: bytes = b"dltensor", device: tuple[int, int] = (2, 0)) -> None:
        self.deleted = 0
        self.asked: list[int | None] = []
        self.memory = ctypes.create_string_buffer(packed, len(packed))
        self.name, self.device = ctypes.create_string_buffer(name), device
        is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
            ("PyCapsule_IsValid", ctypes.pythonapi)
        )

        def destroy(capsule: int) -> None:
            self.deleted += is_valid(capsule, name)  # one that was consumed has another name

        self.destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(destroy)
        new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
            ("PyCapsule_New", ctypes.pythonapi)
        )
        named = ctypes.cast(self.name, ctypes.c_char_p)
        self.capsule = [new(ctypes.addressof(self.memory), named, ctypes.cast(self.destructor, ctypes.c_void_p))]

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.asked.append(stream)
        return self.capsule.pop()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


SHAPE = (ctypes.c_int64 * 2)(2, 3)


def tensor_of(code: int = 2, bits: int = 32, lanes: int = 1) -> bytes:
    """A DLTensor (2, 3) at 4096 + 512: data, device, ndim, dtype, shape, strides, byte offset."""
    return struct.pack("=QiiiBBHQQQ", 4096, 2, 0, 2, code, bits, lanes, ctypes.addressof(SHAPE), 0, 512)


def test_the_capsule_is_left_to_its_maker_who_deletes_it_once() -> None:
    maker = Maker(tensor_of() + bytes(16))
    found = DeviceArray.of(maker, stream=99)
    assert maker.asked == [99], "the maker must let this stream wait"
    assert (found.address, found.shape, found.dtype) == (4096 + 512, (2, 3), "float32")
    assert (found.device, found.ordinal, found.strides, found.contiguous) == ("cuda", 0, None, True)
    gc.collect()
    assert maker.deleted == 0
    del found
    gc.collect()
    assert maker.deleted == 1


def test_the_default_stream_has_a_name_of_its_own_in_dlpack() -> None:
    on_gpu, on_cpu = Maker(tensor_of() + bytes(16)), Maker(tensor_of() + bytes(16), device=(1, 0))
    DeviceArray.of(on_gpu, stream=0)
    DeviceArray.of(on_cpu, stream=5)
    assert (on_gpu.asked, on_cpu.asked) == ([1], [None])


def test_versioned_capsules_have_flags_and_a_major_version() -> None:
    def versioned(major: int, flags: int) -> Maker:
        return Maker(struct.pack("=IIQQQ", major, 1, 0, 0, flags) + tensor_of(), b"dltensor_versioned")

    found = DeviceArray.of(versioned(1, 0))
    assert (found.address, found.shape, found.read_only) == (4096 + 512, (2, 3), False)
    assert DeviceArray.of(versioned(1, 1)).read_only
    with pytest.raises(DeployError, match=r"comes as DLPack 2\.1: expected 1\.x"):
        DeviceArray.of(versioned(2, 0))


@pytest.mark.parametrize("dtype", [(2, 32, 4), (3, 64, 1), (0, 4, 1), (200, 8, 1)])
def test_elements_that_are_no_plain_numbers_are_refused(dtype: tuple[int, int, int]) -> None:
    with pytest.raises(DeployError, match=rf"DLPack data type {dtype[0]} of {dtype[1]} bits, .*: expected a plain one"):
        DeviceArray.of(Maker(tensor_of(*dtype) + bytes(16)))


def interface(**changes: Any) -> SimpleNamespace:
    record = {"shape": (2, 3), "typestr": "<f4", "data": (4096, False), "version": 3, "strides": None, "stream": 7}
    return SimpleNamespace(__cuda_array_interface__={**record, **changes})


def test_cudas_array_interface_is_read_rightly() -> None:
    found = DeviceArray.of(interface())
    assert (found.address, found.shape, found.dtype, found.stream) == (4096, (2, 3), "float32", 7)
    assert (found.device, found.ordinal, found.read_only, found.contiguous) == ("cuda", None, False, True)
    other = DeviceArray.of(interface(typestr="|u1", data=(8192, True), strides=(3, 1), stream=None, version=2))
    assert (other.dtype, other.read_only, other.stream, other.contiguous) == ("uint8", True, None, True)
    assert not DeviceArray.of(interface(strides=(4, 8))).contiguous
    assert DeviceArray.of(interface(typestr="|b1")).itemsize == 1
    record = interface().__cuda_array_interface__
    del record["stream"], record["strides"]  # both may be left out
    assert DeviceArray.of(SimpleNamespace(__cuda_array_interface__=record)).stream is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 1}, "has version 1: expected 2 or 3"),
        ({"mask": object()}, "has a mask: expected one without"),
        ({"stream": 0}, "names stream 0"),
        ({"typestr": ">f4"}, "'>f4': expected little-endian numbers"),
        ({"typestr": "<V2"}, "'<V2': expected little-endian numbers"),
        ({"typestr": "f"}, "is damaged"),
        ({"data": None}, "is damaged"),
        ({"shape": 3}, "is damaged"),
    ],
)
def test_an_interface_that_cannot_be_taken_says_why(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DeployError, match=said):
        DeviceArray.of(interface(**changes))


def test_other_objects_are_refused() -> None:
    with pytest.raises(DeployError, match="list is not a device array: expected an object with __dlpack__ or "):
        DeviceArray.of([1, 2])
    with pytest.raises(DeployError, match=r"Tensor cannot be taken over DLPack: .*grad"):
        DeviceArray.of(torch.zeros(3, requires_grad=True))
    consumed = SimpleNamespace(__dlpack__=lambda **_: object(), __dlpack_device__=lambda: (1, 0))
    with pytest.raises(DeployError, match="expected a capsule that nobody has consumed"):
        DeviceArray.of(consumed)
