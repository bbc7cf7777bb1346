"""Enums and callback classes with TensorRT's names; the values are not TensorRT's, which differ between versions."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Self

__all__ = ["ENUMS", "RTX_ENUMS", "Dims", "ILogger", "IProfiler", "IProgressMonitor", "Logger", "Severity"]


def _enums(**members: str) -> dict[str, Any]:
    return {name: IntEnum(name, words.split(), start=0) for name, words in members.items()}


ENUMS = _enums(
    BuilderFlag="DEBUG REFIT TF32 STRIP_PLAN VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME WEIGHT_STREAMING "
    "DISABLE_TIMING_CACHE",
    DataType="FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4",
    ExecutionContextAllocationStrategy="STATIC ON_PROFILE_CHANGE USER_MANAGED",
    HardwareCompatibilityLevel="NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY",
    LayerInformationFormat="ONELINE JSON",
    MemoryPoolType="WORKSPACE",
    NetworkDefinitionCreationFlag="STRONGLY_TYPED",
    ProfilingVerbosity="LAYER_NAMES_ONLY NONE DETAILED",
    TensorIOMode="NONE INPUT OUTPUT",
    TilingOptimizationLevel="NONE FAST MODERATE FULL",
)
RTX_ENUMS = _enums(
    BuilderFlag="DEBUG REFIT TF32 STRIP_PLAN VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME WEIGHT_STREAMING "
    "REQUIRE_USER_ALLOCATION",
    ComputeCapability="NONE CURRENT SM75 SM80 SM86 SM89 SM120 SM121",
    CudaGraphStrategy="DISABLED WHOLE_GRAPH_CAPTURE",
    DynamicShapesKernelSpecializationStrategy="LAZY EAGER NONE",
    EngineValidity="VALID SUBOPTIMAL INVALID",
) | {"EngineInvalidityDiagnostics": IntEnum("EngineInvalidityDiagnostics", {"MALFORMED_ENGINE": 1, "CUDA_ERROR": 2})}


class Severity(IntEnum):
    """Of a message."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    """What the user's loggers derive from."""

    Severity = Severity

    def __init__(self) -> None:
        self._made = True  # as with pybind11, a derived class must call it

    def log(self, severity: IntEnum, msg: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    """Writes messages to stderr, from a severity on."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: IntEnum, msg: str) -> None:
        if severity <= self.min_severity:
            sys.stderr.write(f"[TRT] [{severity.name[0]}] {msg}\n")


class IProfiler:
    """What the user's profilers derive from."""

    def __init__(self) -> None:
        self._made = True

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class IProgressMonitor:
    """What the user's progress monitors derive from."""

    def __init__(self) -> None:
        self._made = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class Dims(tuple[int, ...]):
    """A shape."""

    __slots__ = ()

    def __new__(cls, shape: Iterable[int]) -> Self:
        return super().__new__(cls, map(int, shape))
