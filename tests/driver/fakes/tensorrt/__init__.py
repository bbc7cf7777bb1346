"""`import tensorrt` on the stand-in driver: see tests/driver/engine."""

from tests.driver.engine.builder import Builder, OnnxParser
from tests.driver.engine.context import IExecutionContext
from tests.driver.engine.names import ENUMS, ILogger, IProfiler, IProgressMonitor, Logger
from tests.driver.engine.runtime import EngineInspector, ICudaEngine, IRuntimeConfig, Runtime

__all__ = [
    "Builder", "EngineInspector", "ICudaEngine", "IExecutionContext", "ILogger", "IProfiler", "IProgressMonitor",
    "IRuntimeConfig", "Logger", "OnnxParser", "Runtime",
]  # fmt: skip
__version__ = "11.4.0.106"
globals().update(ENUMS)
