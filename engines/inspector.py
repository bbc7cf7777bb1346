"""Opens an engine on this machine's GPU: reads its description, and times its layers with TensorRT's profiler."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any, Self

import numpy as np

from wrn_deploy.engines.log import BuildLog, make_logger
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.runtime.plan_profile import PlanProfile, choose_profile

__all__ = ["LayerTimer", "describe_engine"]

LARGEST_ELEMENT = 8  # bytes of an int64
DEFAULT_STREAM = 0  # CUDA's handle


def describe_engine(module: Any, plan: bytes) -> list[str]:
    """The inspector's JSON for each profile, at its optimum shapes; without shapes it has no formats.

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
        raise DeployError(f"the plan cannot be opened on this GPU ({said}): rebuild it here")
    context = engine.create_execution_context()
    if context is None:
        return [_describe(module, engine, None)]
    described = []
    for profile in range(engine.num_optimization_profiles):
        _set_profile(context, profile, DEFAULT_STREAM)
        for name in _input_names(module, engine):
            context.set_input_shape(name, tuple(engine.get_tensor_profile_shape(name, profile)[1]))
        described.append(_describe(module, engine, context))
    return described


class LayerTimer:
    """An engine on the first GPU, in its primary context, with one batch of random bytes; a context manager.

    The batch runs on the profile that a backend would choose. `description` is the inspector's JSON for that profile;
    its layers have the names that are timed.

    Raises:
        DeployError: the plan cannot be opened, or no profile takes the batch.
        MachineError: CUDA cannot be used, or there is no memory.
    """

    def __init__(self, module: Any, plan: bytes, batch: int) -> None:
        self._context: Any = None
        self._engine: Any = None
        self._runtime: Any = None
        self._stream: Any = None
        self._memory: list[Any] = []
        try:
            with on_gpu() as cuda:
                self._open(cuda, module, plan, batch)
        except BaseException:
            self._close()
            raise

    def _open(self, cuda: Any, module: Any, plan: bytes, batch: int) -> None:
        self._logger = make_logger(module, BuildLog())
        self._runtime = module.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DeployError("the plan cannot be opened on this GPU: rebuild it here")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise MachineError("TensorRT cannot make an execution context: free GPU memory")
        self._stream = cuda.Stream()
        inputs = _input_names(module, self._engine)
        _set_profile(self._context, choose_profile(_profiles(self._engine, inputs[0]), batch), self._stream.handle)
        for name in inputs:
            shape = (batch, *tuple(self._engine.get_tensor_shape(name))[1:])
            if not self._context.set_input_shape(name, shape):
                raise DeployError(f"the plan does not take {shape} for {name}: rebuild it")
        numbers = np.random.default_rng(0)
        for name in [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]:
            size = math.prod(tuple(self._context.get_tensor_shape(name))) * LARGEST_ELEMENT
            self._memory.append(cuda.mem_alloc(size))
            cuda.memcpy_htod(self._memory[-1], numbers.bytes(size))  # zeros would draw less power, and be faster
            self._context.set_tensor_address(name, int(self._memory[-1]))
        self.description = _describe(module, self._engine, self._context)
        self._layers: dict[str, float] = {}
        self._profiler = _make_profiler(module, self._layers)
        self._context.profiler = self._profiler

    def run(self) -> tuple[float, dict[str, float]]:
        """Runs once; returns milliseconds on the host's clock, and of each layer. The profiler makes it slower."""
        assert self._context is not None, "it is closed"
        self._layers.clear()
        with on_gpu():
            start = time.perf_counter()
            if not self._context.execute_async_v3(self._stream.handle):
                raise MachineError("TensorRT could not start the inference: free GPU memory")
            self._stream.synchronize()
            return 1000 * (time.perf_counter() - start), dict(self._layers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._runtime is None:
            return
        with contextlib.suppress(MachineError), on_gpu():  # after a CUDA failure there is nothing to free
            self._context = self._engine = self._runtime = None  # in this order, and before the memory they use
            for memory in self._memory:
                memory.free()
            self._memory.clear()
            self._stream = None


def _input_names(module: Any, engine: Any) -> list[str]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return [name for name in names if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT]


def _profiles(engine: Any, name: str) -> list[PlanProfile]:
    """The batches of each profile, from the shapes of an input."""
    found = []
    for index in range(engine.num_optimization_profiles):
        minimum, optimum, maximum = (int(shape[0]) for shape in engine.get_tensor_profile_shape(name, index))
        found.append(PlanProfile(minimum=minimum, optimum=optimum, maximum=maximum))
    return found


def _set_profile(context: Any, profile: int, stream: int) -> None:
    """Makes a profile the context's; a shape must be set after it."""
    if not context.set_optimization_profile_async(profile, stream):
        raise MachineError(f"TensorRT cannot use profile {profile} of the plan: free GPU memory")


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
