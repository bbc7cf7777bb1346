"""Builds a plan from an ONNX graph: strongly typed, one path for TensorRT 10.12+, 11 and TensorRT-RTX."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.log import BuildLog, make_logger, quiet_stderr
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.spec import TensorSpec

__all__ = ["BuiltPlan", "Profile", "build_plan"]

RTX_MAGIC = b"vtrt"  # the first bytes of a TensorRT-RTX plan


@dataclass(frozen=True, slots=True)
class Profile:
    """One optimization profile: the least, the usual and the largest batch."""

    minimum: int = 1
    optimum: int = 8
    maximum: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise UsageError(
                f"batches min {self.minimum}, opt {self.optimum}, max {self.maximum}: expected 1 <= min <= opt <= max"
            )


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan and what is known of it without a GPU; `memory` is in bytes, as the builder printed it."""

    plan: bytes
    seconds: float
    memory: dict[str, int]
    warnings: tuple[str, ...]


def build_plan(trt: TensorRT, onnx: Path, source: TensorSpec, profile: Profile, workspace_mib: int | None) -> BuiltPlan:
    """Builds a plan whose precisions are those written in the graph.

    Two builds are the same but for numbers in the names of TensorRT's internal tensors, which follow memory addresses.

    Args:
        trt: which TensorRT builds.
        onnx: the graph.
        source: its input; the batch comes from `profile`.
        profile: the batches the plan is for.
        workspace_mib: the most scratch memory a layer may take (None: TensorRT's own choice).

    Raises:
        DeployError: the graph cannot be parsed or built; the text has TensorRT's own words and what they mean.
    """
    log, noise = BuildLog(), list[str]()
    start = time.perf_counter()
    with quiet_stderr(noise):
        plan = _build(trt.module, log, onnx, (source, profile), workspace_mib)
    if plan is None:
        raise DeployError(f"{trt.flavor} built no plan from {onnx.name}: {_explain(log.errors or noise)}")
    if trt.flavor is Flavor.RTX and plan[:4] != RTX_MAGIC:
        raise DeployError(f"TensorRT-RTX returned {plan[:4]!r}...: expected a plan that starts with {RTX_MAGIC!r}")
    return BuiltPlan(plan, round(time.perf_counter() - start, 3), log.memory, tuple(log.warnings))


def _build(
    module: Any, log: BuildLog, onnx: Path, shapes: tuple[TensorSpec, Profile], workspace_mib: int | None
) -> bytes | None:
    source, profile = shapes
    logger = make_logger(module, log)
    builder = module.Builder(logger)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)) or network.num_outputs == 0:
        log.errors.extend(parser.get_error(index).desc() for index in range(parser.num_errors))
        if not log.errors:
            log.errors.append("the file has no graph outputs")  # an empty file parses without an error
        return None
    inputs = [network.get_input(index).name for index in range(network.num_inputs)]
    if inputs != [source.name]:
        log.errors.append(f"the graph's inputs are {inputs}, not {source.name} alone")
        return None
    config = builder.create_builder_config()
    if workspace_mib is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, workspace_mib * 2**20)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    ranges = builder.create_optimization_profile()
    ranges.set_shape(
        source.name, *((batch, *source.shape) for batch in (profile.minimum, profile.optimum, profile.maximum))
    )
    config.add_optimization_profile(ranges)
    plan = builder.build_serialized_network(network, config)
    return None if plan is None else bytes(plan)


# What TensorRT says -> what it means. The wording was found by experiment with 1.7.1 (RTX).
EXPLANATIONS = {
    "MODEL_DESERIALIZE_FAILED": "the file is no ONNX graph, or it is truncated: export it again",
    "Plugin not found": "the graph has an operator that this TensorRT does not know: export it with our exporter",
    "must be of same type": "the graph mixes precisions without a Cast: export and calibrate again",
    "must have same input types": "the graph mixes precisions without a Cast: export and calibrate again",
    "Non-zero zero point": "the graph has asymmetric Q/DQ, as ONNX Runtime wants it: calibrate again",
    "input has type Int32": "the graph has biases in integers, as ONNX Runtime wants it: calibrate again",
    "Dimension mismatch": "the graph takes images of another size than the bundle says: export it again",
    "workspace limit": "expected more scratch memory: pass a larger --workspace, or none",
    "no optimization profile": "no batch range was given",
    "MIN<=OPT<=MAX": "expected min <= opt <= max batch",
    "missing dimensions in profile": "the profile names another input than the graph has",
    "no graph outputs": "expected a whole ONNX graph: export it again",
}


def _explain(messages: list[str]) -> str:
    text = " | ".join(dict.fromkeys(message.strip() for message in messages if message.strip())) or "it gave no reason"
    meaning = next((meaning for words, meaning in EXPLANATIONS.items() if words in text), None)
    return f"{meaning} ({text[:600]})" if meaning else f"{text[:600]}; expected a graph that `wrn-deploy export` wrote"
