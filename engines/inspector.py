"""Opens an engine on this machine's GPU: reads its description, and times its layers with TensorRT's profiler."""

from __future__ import annotations

import math
import time
from typing import Any, Self

import numpy as np

from wrn_deploy.engines.log import BuildLog, make_logger
from wrn_deploy.errors import DeployError, MachineError, how_to_install

__all__ = ["LayerTimer", "describe_engine"]

LARGEST_ELEMENT = 8  # bytes of an int64


def describe_engine(module: Any, plan: bytes) -> str:
    """The inspector's JSON for the first profile's optimum shapes; without shapes it has no formats.

    Args:
        module: TensorRT's Python module.
        plan: built with that module and undamaged: a damaged one may end the process.

    Raises:
        DeployError: the plan cannot be opened here.
    """
    log = BuildLog()
    logger = make_logger(module, log)  # it must outlive the engine
    runtime = module.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        said = " | ".join(log.errors) or "it gave no reason"
        raise DeployError(f"the plan cannot be opened on this GPU ({said}): build it again here")
    context = engine.create_execution_context()
    if context is not None:
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT:
                context.set_input_shape(name, tuple(engine.get_tensor_profile_shape(name, 0)[1]))
    return _describe(module, engine, context)


class LayerTimer:
    """An engine on the first GPU, in its primary context, with one batch of random bytes; a context manager.

    `description` is the inspector's JSON; its layers have the names that are timed.
    """

    def __init__(self, module: Any, plan: bytes, batch: int) -> None:
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            raise MachineError(f"timing layers needs PyCUDA ({error}): {how_to_install('gpu', 'pycuda')}") from error
        cuda.init()
        self._cuda = cuda
        self._primary = cuda.Device(0).retain_primary_context()
        self._primary.push()
        try:
            self._open(module, plan, batch)
        except BaseException:
            cuda.Context.pop()
            raise

    def _open(self, module: Any, plan: bytes, batch: int) -> None:
        self._logger = make_logger(module, BuildLog())
        self._runtime = module.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DeployError("the plan cannot be opened on this GPU: build it again here")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise MachineError("TensorRT cannot make an execution context: free GPU memory")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        for name in names:
            if self._engine.get_tensor_mode(name) == module.TensorIOMode.INPUT:
                shape = (batch, *tuple(self._engine.get_tensor_shape(name))[1:])
                if not self._context.set_input_shape(name, shape):
                    raise DeployError(f"the plan has no batch of {batch}: pass a --batch within its profiles")
        self._memory, numbers = [], np.random.default_rng(0)
        for name in names:
            size = math.prod(tuple(self._context.get_tensor_shape(name))) * LARGEST_ELEMENT
            self._memory.append(self._cuda.mem_alloc(size))
            self._cuda.memcpy_htod(self._memory[-1], numbers.bytes(size))  # zeros would draw less power, and be faster
            self._context.set_tensor_address(name, int(self._memory[-1]))
        self.description = _describe(module, self._engine, self._context)
        self._stream = self._cuda.Stream()
        self._layers: dict[str, float] = {}
        self._profiler = _make_profiler(module, self._layers)
        self._context.profiler = self._profiler

    def run(self) -> tuple[float, dict[str, float]]:
        """Runs once; returns milliseconds on the host's clock, and of each layer. The profiler makes it slower."""
        self._layers.clear()
        start = time.perf_counter()
        if not self._context.execute_async_v3(self._stream.handle):
            raise MachineError("TensorRT could not start the inference: free GPU memory")
        self._stream.synchronize()
        return 1000 * (time.perf_counter() - start), dict(self._layers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._context = self._engine = self._runtime = None  # in this order, and before the memory they use
        for memory in self._memory:
            memory.free()
        self._stream = None
        self._cuda.Context.pop()


def _make_profiler(module: Any, layers: dict[str, float]) -> Any:
    """A profiler that adds each layer's milliseconds to `layers`."""

    class Profiler(module.IProfiler):  # type: ignore[misc]  # the base class is known only at run time
        def __init__(self) -> None:
            module.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            layers[layer_name] = layers.get(layer_name, 0.0) + ms

    return Profiler()


def _describe(module: Any, engine: Any, context: Any) -> str:
    """The inspector's JSON for the shapes of `context`; None: without formats if shapes are dynamic."""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    return str(inspector.get_engine_information(module.LayerInformationFormat.JSON))
