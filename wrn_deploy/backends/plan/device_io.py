"""Checks whether a caller's array can be an input or output of a plan: its type, layout and memory."""

from __future__ import annotations

from wrn_deploy.backends.plan.cuda import call, cuda_runtime
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.device_array import DeviceArray
from wrn_deploy.spec import TensorSpec

__all__ = ["check_array", "check_memory"]

ALIGNMENT = 256  # bytes; TensorRT's documentation, IExecutionContext::setTensorAddress


def check_array(array: DeviceArray, tensor: TensorSpec, count: int | None = None, *, written: bool = False) -> None:
    """Raises DeployError unless the array is a batch of a tensor (of `count` images if given) on the first GPU."""
    if array.device not in ("cuda", "cuda_managed") or array.ordinal not in (None, 0):
        where = array.device if array.ordinal is None else f"{array.device} {array.ordinal}"
        raise DeployError(f"the array for {tensor.name} is on {where}: expected the first CUDA GPU (cuda 0)")
    whole = array.shape[1:] == tensor.shape and (array.shape[0] if count is None else array.shape[0] == count)
    if array.dtype != tensor.dtype or len(array.shape) != 1 + len(tensor.shape) or not whole:
        shape = ", ".join(map(str, ("N" if count is None else count, *tensor.shape)))
        raise DeployError(
            f"the device array for {tensor.name} is {array.dtype} {array.shape}: expected {tensor.dtype} ({shape})"
            f"{', N at least 1' if count is None else ''}"
        )
    if not array.contiguous:
        raise DeployError(
            f"the device array for {tensor.name} has strides {array.strides}: expected C order without gaps; copy it"
        )
    if array.address % ALIGNMENT:
        raise DeployError(
            f"the device array for {tensor.name} starts at {array.address:#x}: expected a multiple of {ALIGNMENT}; "
            "copy it, or send no more images at once than the plan takes"
        )
    if written and array.read_only:
        raise DeployError(f"the device array for {tensor.name} is read-only: expected one that can be written to")


def check_memory(array: DeviceArray, tensor: TensorSpec) -> None:
    """Raises DeployError unless CUDA knows the address as memory of the first GPU.

    The GPU's context must be current. Using an invalid address would be a CUDA error from which no process recovers.
    """
    kinds = cuda_runtime().cudaMemoryType
    known = call("cudaPointerGetAttributes", array.address)
    if known.type not in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged) or known.device != 0:
        raise DeployError(
            f"the array for {tensor.name} at {array.address:#x} is {known.type.name}, device {known.device}: "
            "expected memory of the first CUDA GPU"
        )
