"""`import tensorrt_rtx` on the stand-in driver: see tests/driver/engine."""

from tests.driver.engine.builder import OnnxParser
from tests.driver.engine.builder import RtxBuilder as Builder
from tests.driver.engine.context import RtxExecutionContext as IExecutionContext
from tests.driver.engine.names import ENUMS, RTX_ENUMS, ILogger, IProfiler, IProgressMonitor, Logger
from tests.driver.engine.runtime import EngineInspector, IRuntimeCache
from tests.driver.engine.runtime import RtxEngine as ICudaEngine
from tests.driver.engine.runtime import RtxRuntime as Runtime
from tests.driver.engine.runtime import RtxRuntimeConfig as IRuntimeConfig

__all__ = [
    "Builder", "EngineInspector", "ICudaEngine", "IExecutionContext", "ILogger", "IProfiler", "IProgressMonitor",
    "IRuntimeCache", "IRuntimeConfig", "Logger", "OnnxParser", "Runtime",
]  # fmt: skip
__version__ = "1.7.1.116"
globals().update(ENUMS | RTX_ENUMS)
