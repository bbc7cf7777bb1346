"""Execution contexts that keep TensorRT's documented rules: what breaks one is noted as a violation."""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from tests.driver.engine.names import ENUMS, RTX_ENUMS, Dims, IProfiler, Severity
from tests.driver.engine.plan import DTYPES
from tests.driver.standin import library, violation

if TYPE_CHECKING:
    from tests.driver.engine.runtime import ICudaEngine, IRuntimeConfig

__all__ = ["IExecutionContext", "RtxExecutionContext", "allocate", "free"]

ALIGNMENT = 256  # bytes, of tensors and of device memory
MAX_TENSORS = 8
Strategy = ENUMS["ExecutionContextAllocationStrategy"]
P = ParamSpec("P")
R = TypeVar("R")


class _Tensor(ctypes.Structure):
    _fields_ = [("address", ctypes.c_uint64), ("elements", ctypes.c_long), ("dtype", ctypes.c_int)]


class _Inference(ctypes.Structure):
    """As `Inference` of source/inference.cpp."""

    _fields_ = [
        ("execution", ctypes.c_void_p), ("activations", ctypes.c_uint64), ("activation_bytes", ctypes.c_long),
        ("batch", ctypes.c_long), ("count", ctypes.c_long), ("microseconds", ctypes.c_long),
        ("tensors", _Tensor * MAX_TENSORS),
    ]  # fmt: skip


def allocate(size: int) -> int:
    """Device memory of the driver; 0: there is none."""
    address = ctypes.c_uint64()
    failed = library().cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
    return 0 if failed else address.value


def free(address: int) -> None:
    """Gives it back; a context must be current."""
    library().cuMemFree_v2(ctypes.c_uint64(address))


def alone(
    method: Callable[Concatenate[IExecutionContext, P], R],
) -> Callable[Concatenate[IExecutionContext, P], R]:
    """Notes if two threads are in one context: TensorRT allows one."""

    @functools.wraps(method)
    def guarded(self: IExecutionContext, /, *values: P.args, **named: P.kwargs) -> R:
        entered = self._entered.acquire(blocking=False)
        if not entered:
            violation(f"two threads in one execution context, one in {method.__name__}")
        try:
            return method(self, *values, **named)
        finally:
            if entered:
                self._entered.release()

    return cast("Callable[Concatenate[IExecutionContext, P], R]", guarded)


class IExecutionContext:
    """See TensorRT's class. The kernel's time is STANDIN_KERNEL_US microseconds."""

    def __init__(self, engine: ICudaEngine, strategy: int) -> None:
        self.engine, self.name = engine, ""
        self.profiler: IProfiler | None = None
        self.enqueue_emits_profile = True
        self._plan, self._strategy = engine.plan, strategy
        self._entered = threading.Lock()
        self._profile = 0
        self._shape: Dims | None = None
        self._prepared = False  # a first run of this shape has done what cannot be captured
        self._addresses: dict[str, int] = {}
        self._consumed = 0
        self._memory, self._memory_bytes, self._owned = 0, 0, False
        self._execution = library().standin_execution_new()
        if strategy == Strategy.STATIC:
            self._own(engine.device_memory_size_v2)

    @property
    def usable(self) -> bool:
        """Whether it could be made."""
        return self._strategy != Strategy.STATIC or self._memory != 0

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    @property
    def all_binding_shapes_specified(self) -> bool:
        return self._shape is not None

    def __setattr__(self, name: str, value: object) -> None:
        if name == "device_memory":
            self.set_device_memory(operator.index(value), self.engine.device_memory_size_v2)  # type: ignore[arg-type]
            return
        if not name.startswith("_") and hasattr(self, "_execution") and name not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} that can be set")
        super().__setattr__(name, value)

    @alone
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        profile, _ = operator.index(profile_index), operator.index(stream_handle)
        if not 0 <= profile < len(self._plan.profiles):
            return self._refuse(f"there is no profile {profile}")
        if library().standin_check_current(b"set_optimization_profile_async"):
            return False
        self._profile, self._shape = profile, None
        self._changed()
        if self._strategy == Strategy.ON_PROFILE_CHANGE:
            return self._own(self._plan.activation_bytes(profile))
        return True

    @alone
    def set_input_shape(self, name: str, shape: tuple[int, ...] | list[int] | Dims) -> bool:
        if not isinstance(shape, tuple | list):
            raise TypeError(f"set_input_shape(): incompatible function arguments: {name!r}, {shape!r}")
        if name != self._plan.source.name:
            return self._refuse(f"{name} is not an input")
        low, _, high = self._plan.profiles[self._profile]
        if tuple(shape[1:]) != self._plan.source.shape or not low <= shape[0] <= high:
            return self._refuse(f"{tuple(shape)} does not satisfy profile {self._profile}, which takes {low} to {high}")
        if self._shape != tuple(shape):
            self._shape, self._prepared = Dims(shape), False
            self._changed()
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        tensor = next(each for each in self._plan.tensors if each.name == name)
        return Dims((self._shape[0] if self._shape else -1, *tensor.shape))

    def infer_shapes(self) -> list[str]:
        return [] if self._shape is not None else [self._plan.source.name]

    @alone
    def set_tensor_address(self, name: str, memory: int) -> bool:
        address = operator.index(memory)
        if name not in {tensor.name for tensor in self._plan.tensors}:
            return self._refuse(f"there is no tensor {name}")
        if address % ALIGNMENT:
            return self._refuse(f"the address of {name} is not a multiple of {ALIGNMENT}")
        if self._addresses.get(name) != address:
            self._addresses[name] = address
            self._changed()
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    @alone
    def set_device_memory(self, memory: int, size: int) -> None:
        address, size = operator.index(memory), operator.index(size)
        if self._strategy != Strategy.USER_MANAGED:
            violation("set_device_memory on an execution context that has memory of its own")
            return
        needed = self._plan.activation_bytes(self._profile)
        if address % ALIGNMENT or size < needed:
            violation(f"set_device_memory({address:#x}, {size}): expected {needed} bytes, {ALIGNMENT}-byte aligned")
            return
        if (address, size) != (self._memory, self._memory_bytes):
            self._memory, self._memory_bytes = address, size
            self._changed()

    def update_device_memory_size_for_shapes(self) -> int:
        return self._plan.activation_bytes(self._profile)

    def set_input_consumed_event(self, event: int) -> bool:
        self._consumed = operator.index(event)
        return True

    @alone
    def execute_async_v3(self, stream_handle: int) -> bool:
        stream, obstacle = operator.index(stream_handle), self._obstacle()
        if obstacle is not None or self._shape is None:
            return self._refuse(obstacle or "the shape of the input is not set")
        if not self._prepare(stream):
            return self._refuse("the first inference of a shape allocates, which failed")
        if library().standin_infer(ctypes.c_void_p(stream), ctypes.byref(self._arguments())):
            return self._refuse("the kernel could not be started")
        if self._consumed:
            library().cuEventRecord(ctypes.c_void_p(self._consumed), ctypes.c_void_p(stream))
        if self.profiler is not None and self.enqueue_emits_profile:
            library().cuStreamSynchronize(ctypes.c_void_p(stream))
            for layer in ("first half", "second half"):
                self.profiler.report_layer_time(layer, 0.25 * self._shape[0])
        return True

    def _obstacle(self) -> str | None:
        """What was not set before an inference."""
        missing = [tensor.name for tensor in self._plan.tensors if not self._addresses.get(tensor.name)]
        if missing:
            return f"no address is set for {', '.join(missing)}"
        if not self._memory:
            return "no device memory is set"
        small = self._memory_bytes < self._plan.activation_bytes(self._profile)
        return "the device memory is too small for the profile" if small else None

    def _prepare(self, stream: int) -> bool:
        """The work of a first run after a new shape, which allocates and so cannot be captured."""
        del stream
        if not self._prepared:
            scratch = allocate(ALIGNMENT)
            if not scratch:
                return False
            free(scratch)
            self._prepared = True
        return True

    def _arguments(self) -> _Inference:
        assert self._shape is not None
        it = _Inference(self._execution, self._memory, self._plan.activation_bytes(self._profile), self._shape[0])
        it.count, it.microseconds = len(self._plan.tensors), int(os.environ.get("STANDIN_KERNEL_US", "0"))
        for index, tensor in enumerate(self._plan.tensors):
            elements = functools.reduce(operator.mul, tensor.shape, 1)
            it.tensors[index] = _Tensor(self._addresses[tensor.name], elements, DTYPES[tensor.dtype][1])
        return it

    def _own(self, size: int) -> bool:
        """Takes memory of its own, in the place of what it had."""
        if self._memory:
            free(self._memory)
        self._memory, self._memory_bytes, self._owned = allocate(size), size, True
        return self._memory != 0 or self._refuse(f"no {size} bytes of device memory")

    def _changed(self) -> None:
        """A graph that was captured from this context does not hold any more."""
        library().standin_execution_changed(self._execution)

    def _refuse(self, text: str) -> bool:
        self.engine.logger.log(Severity.ERROR, f"IExecutionContext: {text}")
        return False

    def __del__(self) -> None:
        library().standin_execution_delete(self._execution)
        if self._owned and self._memory:
            free(self._memory)


class RtxExecutionContext(IExecutionContext):
    """With what TensorRT-RTX has besides: a runtime configuration, and its own CUDA graphs."""

    def __init__(self, engine: ICudaEngine, strategy: int, config: IRuntimeConfig | None) -> None:
        self._config = config
        self.captures: set[tuple[Any, ...]] = set()  # what its own strategy has captured: shape and addresses
        super().__init__(engine, strategy)

    @property
    def captures_itself(self) -> bool:
        """Whether CUDA graphs are TensorRT-RTX's own."""
        whole = RTX_ENUMS["CudaGraphStrategy"].WHOLE_GRAPH_CAPTURE
        return self._config is not None and getattr(self._config, "cuda_graph_strategy", None) == whole

    def get_runtime_config(self) -> IRuntimeConfig | None:
        return self._config

    def is_stream_capturable(self, stream: int) -> bool:
        operator.index(stream)
        return self._plan.user_allocation and not self.captures_itself

    def _prepare(self, stream: int) -> bool:
        status = ctypes.c_int()
        library().cuStreamIsCapturing(ctypes.c_void_p(stream), ctypes.byref(status))
        if status.value and not self.is_stream_capturable(stream):
            violation("a capture of an execution context that cannot be captured: see is_stream_capturable")
            return False
        if self.captures_itself and self._prepared:
            self.captures.add((self._shape, tuple(self._addresses.items())))
        return super()._prepare(stream)
