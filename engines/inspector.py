"""Reads the description of an engine on this machine's GPU."""

from __future__ import annotations

from typing import Any

from wrn_deploy.engines.log import BuildLog, make_logger
from wrn_deploy.errors import DeployError

__all__ = ["describe_context", "describe_engine"]


def describe_engine(module: Any, plan: bytes) -> str:
    """The inspector's JSON for the first profile's usual shapes; without shapes it has no formats.

    Args:
        module: TensorRT's Python module.
        plan: built with that module and undamaged: a damaged one may end the process.

    Raises:
        DeployError: the plan cannot be opened here.
    """
    log = BuildLog()
    logger = make_logger(module, log)
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
    return describe_context(module, engine, context)


def describe_context(module: Any, engine: Any, context: Any) -> str:
    """The inspector's JSON for the shapes of `context`; None: without formats if shapes are dynamic."""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    return str(inspector.get_engine_information(module.LayerInformationFormat.JSON))
