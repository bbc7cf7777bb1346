"""Runtimes and engines: they open plans of `plan.py`, and make execution contexts."""

from __future__ import annotations

import json
import operator
from collections import Counter
from typing import Any

from tests.driver.engine.context import IExecutionContext, RtxExecutionContext, allocate, free
from tests.driver.engine.names import ENUMS, RTX_ENUMS, Dims, ILogger, Severity
from tests.driver.engine.plan import HEADER, RTX_MAGIC, Plan, Tensor
from tests.driver.standin import library

__all__ = [
    "ALIVE", "EngineInspector", "ICudaEngine", "IRuntimeCache", "IRuntimeConfig", "RtxEngine", "RtxRuntime",
    "RtxRuntimeConfig", "Runtime",
]  # fmt: skip

ALIVE = Counter[str]()  # runtimes and engines
WEIGHT_BYTES = 65536
Strategy = ENUMS["ExecutionContextAllocationStrategy"]


class IRuntimeConfig:
    """How execution contexts are made."""

    def __init__(self) -> None:
        self._strategy = Strategy.STATIC

    def set_execution_context_allocation_strategy(self, strategy: Any = Strategy.STATIC) -> None:
        self._strategy = Strategy(strategy)

    def get_execution_context_allocation_strategy(self) -> Any:
        return self._strategy


class IRuntimeCache:
    """What TensorRT-RTX compiled, to be kept."""

    def __init__(self) -> None:
        self._content = b"runtime cache"

    def serialize(self) -> bytes:
        return self._content

    def deserialize(self, blob: bytes) -> bool:
        return bytes(blob) == self._content

    def reset(self) -> bool:
        return True


class RtxRuntimeConfig(IRuntimeConfig):
    """The same with TensorRT-RTX's own CUDA graphs, kernels and cache."""

    def __init__(self) -> None:
        super().__init__()
        self.cuda_graph_strategy = RTX_ENUMS["CudaGraphStrategy"].DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = RTX_ENUMS["DynamicShapesKernelSpecializationStrategy"].LAZY
        self._cache: IRuntimeCache | None = None

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache | None = None) -> bool:
        self._cache = cache
        return cache is not None

    def get_runtime_cache(self) -> IRuntimeCache | None:
        return self._cache


class EngineInspector:
    """Describes an engine."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.execution_context: IExecutionContext | None = None

    def get_engine_information(self, format: Any) -> str:  # noqa: A002 (TensorRT's name)
        assert format == ENUMS["LayerInformationFormat"].JSON
        context, source = self.execution_context, self._engine.plan.source.name
        batch = -1 if context is None else context.get_tensor_shape(source)[0]
        layers = [{"Name": name, "LayerType": "kernel", "Batch": batch} for name in ("first half", "second half")]
        return json.dumps({"Layers": layers})


class ICudaEngine:
    """A plan that was opened; `weights` is its device memory."""

    def __init__(self, plan: Plan, runtime: Runtime, weights: int) -> None:
        self.plan, self.logger = plan, runtime.logger
        self._runtime, self._weights = runtime, weights  # the engine must not outlive the runtime
        self.num_io_tensors, self.num_optimization_profiles = len(plan.tensors), len(plan.profiles)
        self.device_memory_size_v2 = max(map(plan.activation_bytes, range(len(plan.profiles))))
        self.name = ""
        ALIVE["engines"] += 1

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return self.plan.activation_bytes(profile_index)

    def get_tensor_name(self, index: int) -> str:
        return self.plan.tensors[operator.index(index)].name

    def get_tensor_mode(self, name: str) -> Any:
        modes = ENUMS["TensorIOMode"]
        return modes.INPUT if self._tensor(name) is self.plan.source else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return ENUMS["DataType"][self._tensor(name).dtype]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims((-1, *self._tensor(name).shape))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        if self._tensor(name) is not self.plan.source:
            raise RuntimeError(f"{name} is not an input")
        return [Dims((batch, *self.plan.source.shape)) for batch in self.plan.profiles[profile_index]]

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(
        self, strategy: Any = Strategy.STATIC, runtime_config: IRuntimeConfig | None = None
    ) -> IExecutionContext | None:
        config = strategy if isinstance(strategy, IRuntimeConfig) else runtime_config
        if library().standin_check_current(b"create_execution_context"):
            self.logger.log(Severity.ERROR, "no CUDA context")
            return None
        chosen = Strategy(strategy) if config is None else config.get_execution_context_allocation_strategy()
        made = self._make(chosen, config)
        return made if made.usable else None

    def _make(self, strategy: int, config: IRuntimeConfig | None) -> IExecutionContext:
        del config
        return IExecutionContext(self, strategy)

    def _tensor(self, name: str) -> Tensor:
        found = [tensor for tensor in self.plan.tensors if tensor.name == name]
        if not found:
            raise RuntimeError(f"there is no tensor {name}")
        return found[0]

    def __del__(self) -> None:
        ALIVE["engines"] -= 1
        free(self._weights)


class RtxEngine(ICudaEngine):
    """One of TensorRT-RTX."""

    def create_runtime_config(self) -> RtxRuntimeConfig:
        return RtxRuntimeConfig()

    def _make(self, strategy: int, config: IRuntimeConfig | None) -> IExecutionContext:
        return RtxExecutionContext(self, strategy, config)


class Runtime:
    """Opens plans; a context must be current."""

    rtx = False

    def __init__(self, logger: ILogger) -> None:
        if not isinstance(logger, ILogger) or not hasattr(logger, "_made"):
            raise TypeError("Runtime(): incompatible constructor arguments: expected an ILogger")
        self.logger, self.engine_host_code_allowed, self.max_threads = logger, False, 1
        ALIVE["runtimes"] += 1

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if library().standin_check_current(b"deserialize_cuda_engine"):
            self.logger.log(Severity.ERROR, "no CUDA context")
            return None
        plan = Plan.unpack(serialized_engine, rtx=self.rtx)
        weights = allocate(WEIGHT_BYTES) if plan is not None else 0
        if plan is None or not weights:
            self.logger.log(Severity.ERROR, "no plan" if plan is None else "no memory for the weights")
            return None
        return (RtxEngine if self.rtx else ICudaEngine)(plan, self, weights)

    def __del__(self) -> None:
        if hasattr(self, "logger"):
            ALIVE["runtimes"] -= 1


class RtxRuntime(Runtime):
    """One of TensorRT-RTX."""

    rtx = True

    def get_engine_validity(self, buffer: bytes) -> tuple[Any, int]:
        validity, reasons = RTX_ENUMS["EngineValidity"], RTX_ENUMS["EngineInvalidityDiagnostics"]
        head = bytes(buffer[: HEADER.size])
        if head[:4] != RTX_MAGIC or Plan.unpack(buffer, rtx=True) is None:
            return validity.INVALID, int(reasons.MALFORMED_ENGINE)
        return validity.VALID, 0
