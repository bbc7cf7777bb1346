"""Whether a TensorRT-RTX plan is valid, opens, runs and can be captured on this GPU; each way in a process of its own.

    python -m benchmarks.gpu.experiments.rtx BUNDLE without|with

prints a line of JSON after each step, so that the last one says how far it came. It calls TensorRT-RTX itself: the
project's own checks would stop before the question is answered. `with` sets the builder's REQUIRE_USER_ALLOCATION.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np

from benchmarks.gpu.experiments.bundles import open_bundle
from benchmarks.gpu.experiments.images import cosine, cpu_answer, random_pixels
from benchmarks.gpu.experiments.steps import Step, run_python
from benchmarks.gpu.task import Skip, Task
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import as_input
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DeployError

__all__ = ["RUNS", "try_rtx"]

RUNS = "runs"  # the name of the raw result that says whether a plan runs here
BATCH = 4
ALIKE = 0.99
WAYS = {"without": "without REQUIRE_USER_ALLOCATION", "with": "with REQUIRE_USER_ALLOCATION"}


def try_rtx(task: Task) -> None:
    """Both ways; fails if a plan does not run in either."""
    if Flavor.RTX not in installed_flavors():
        raise Skip("TensorRT-RTX is not installed")
    bundle = open_bundle(task, task.networks[0])
    found: list[dict[str, Any]] = []
    for number, (way, title) in enumerate(WAYS.items()):
        arguments = ("-m", "benchmarks.gpu.experiments.rtx", str(bundle.folder), way)
        step = run_python(*arguments, seconds=task.left_s / (len(WAYS) - number))
        told = _told(step)
        found.append(told)
        task.keep(way, {**told, "ending": step.ending, "err": step.err})
        shown = "; ".join(f"{name} {value}" for name, value in told.items()) or "nothing was reached"
        right = bool(told.get("ran")) and not step.ending
        task.found(f"{title}: {shown}{f'; then {step.why}' if step.ending else ''}", right=right)
    runs = any(told.get("cosine", 0.0) > ALIKE for told in found)
    task.keep(RUNS, runs)
    if not any(told.get("ran") for told in found):
        raise DeployError("TensorRT-RTX does not run here")
    if not runs:
        raise DeployError("TensorRT-RTX runs here, and its answers are not the network's")


def _told(step: Step) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for line in step.out.splitlines():
        if line.startswith("{"):
            told |= json.loads(line)
    return told


def _tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201


def _build(trt: Any, logger: Any, bundle: Bundle, *, user_allocation: bool) -> bytes:
    source = bundle.spec.input
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(bundle.file(bundle.find("onnx-fp16")).read_bytes()):
        raise DeployError(parser.get_error(0).desc())
    config = builder.create_builder_config()
    if user_allocation:
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    profile = builder.create_optimization_profile()
    profile.set_shape(source.name, *((batch, *source.shape) for batch in (1, BATCH, BATCH)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeployError("no plan was built: see the messages above")
    return bytes(plan)


def _run(cuda: Any, trt: Any, engine: Any, bundle: Bundle, *, user_allocation: bool) -> None:
    """Runs the plan once, and asks before and after whether it could be captured."""
    source, result, stream = bundle.spec.input, bundle.spec.output, cuda.Stream(1)  # 1: CU_STREAM_NON_BLOCKING
    memory = None
    if user_allocation:
        size = int(engine.device_memory_size_v2)
        memory = cuda.mem_alloc(max(size, 256))
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        context.set_device_memory(int(memory), size)
    else:
        context = engine.create_execution_context()
    pixels = random_pixels(bundle, BATCH)
    images = as_input(pixels, bundle.spec.preprocessing, source)
    answer = np.zeros((BATCH, *result.shape), result.dtype)
    buffers = {source.name: cuda.to_device(images), result.name: cuda.mem_alloc(answer.nbytes)}
    context.set_optimization_profile_async(0, stream.handle)
    context.set_input_shape(source.name, images.shape)
    for name, buffer in buffers.items():
        context.set_tensor_address(name, int(buffer))
    _tell(capturable_before=bool(context.is_stream_capturable(stream.handle)))
    ran = bool(context.execute_async_v3(stream.handle))
    stream.synchronize()
    _tell(ran=ran, capturable_after=bool(context.is_stream_capturable(stream.handle)))
    cuda.memcpy_dtoh(answer, buffers[result.name])
    _tell(cosine=round(cosine(answer, cpu_answer(bundle, "onnx-fp32", pixels)), 6))
    del context, memory


def main() -> None:
    """Builds, opens and runs a plan of the bundle's fp16 graph."""
    bundle, user_allocation = Bundle.open(sys.argv[1]), sys.argv[2] == "with"
    trt = importlib.import_module("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    plan = _build(trt, logger, bundle, user_allocation=user_allocation)
    _tell(version=trt.__version__, built=True, megabytes=round(len(plan) / 1e6, 1))
    import pycuda.driver as cuda

    cuda.init()
    device = cuda.Device(0).retain_primary_context()
    device.push()
    try:
        runtime = trt.Runtime(logger)
        validity, reasons = runtime.get_engine_validity(plan)
        names = [name for name, one in trt.EngineInvalidityDiagnostics.__members__.items() if int(one) & int(reasons)]
        _tell(validity=validity.name, reasons=names)
        engine = runtime.deserialize_cuda_engine(plan)
        _tell(opened=engine is not None)
        if engine is not None:
            _run(cuda, trt, engine, bundle, user_allocation=user_allocation)
    finally:
        cuda.Context.pop()


if __name__ == "__main__":
    main()
