"""Builds a plan from an ONNX graph: strongly typed, one path for TensorRT 10.13.3+, 11 and TensorRT-RTX."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.engines.configure import configure
from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.log import BuildLog, explain, make_logger
from wrn_deploy.engines.options import EngineOptions, check_flavor
from wrn_deploy.engines.progress import PER_CENT, BuildProgress, make_monitor, run_cancellable
from wrn_deploy.engines.timing_cache import TimingCache, choose_timing_cache
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import find_gpu
from wrn_deploy.process.streams import quiet_stderr
from wrn_deploy.progress import Progress
from wrn_deploy.spec import TensorSpec

__all__ = ["BuiltPlan", "build_plan"]

RTX_MAGIC = b"vtrt"  # the first bytes of a TensorRT-RTX plan
# NVIDIA's TensorRT 11.3 documentation, "Refitting an Engine": the classifier is such a GEMM.
REFIT = "some refittable engines omit a GEMM's bias (known to NVIDIA): check this one with `wrn-deploy eval`"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPlan:
    """A plan and what is known of it without a GPU.

    `memory` is in bytes, as the builder printed it; `layer_lists` are its messages with the layers of the engine, one
    per target (`layers.parse_log` reads them; TensorRT-RTX prints them even without a GPU). `started_from` is the
    sha256 of the timing cache that the builder started with, None without one.
    """

    plan: bytes
    seconds: float
    memory: dict[str, int]
    warnings: tuple[str, ...]
    layer_lists: tuple[str, ...] = ()
    started_from: str | None = None


def build_plan(trt: TensorRT, onnx: Path, source: TensorSpec, options: EngineOptions, progress: Progress) -> BuiltPlan:
    """Builds a plan whose precisions are those written in the graph.

    Two builds differ only in names and order of a few internal tensors, which follow memory addresses: less than one
    byte in a thousand with TensorRT-RTX 1.7.1.

    Args:
        trt: which TensorRT builds.
        onnx: the graph.
        source: its input; the batch comes from the profiles.
        options: what the plan is for.
        progress: shows the builder's own progress.

    Raises:
        UsageError: this TensorRT does not have an option.
        DeployError: the graph cannot be parsed or built; the text has TensorRT's message and its meaning.
        MachineError: the options need a GPU, a driver or a library that this machine lacks.
        KeyboardInterrupt: Ctrl-C; the build was cancelled.
    """
    check_flavor(options, trt.flavor)
    if options.refit:
        progress.warn(REFIT)
    log, noise, times = BuildLog(), list[str](), choose_timing_cache(trt, options, find_gpu())
    title = f"Building {onnx.name} with {trt.flavor} {trt.version}"
    start = time.perf_counter()
    with progress.task(title, PER_CENT) as advance, quiet_stderr(noise):
        build = BuildProgress(advance)
        plan = run_cancellable(
            lambda: _build(trt, log, onnx, source, options, monitored=build, times=times), build.cancel
        )
    for warning in times.warnings if times else ():
        progress.warn(warning)
    if plan is None:
        messages = log.errors or [*log.no_gpu, *noise]
        raise explain(f"{trt.flavor} built no plan from {onnx.name}", messages)
    if trt.flavor is Flavor.RTX and plan[:4] != RTX_MAGIC:
        raise DeployError(f"TensorRT-RTX returned {plan[:4]!r}...: expected a plan that starts with {RTX_MAGIC!r}")
    seconds = round(time.perf_counter() - start, 3)
    return BuiltPlan(
        plan=plan,
        seconds=seconds,
        memory=log.memory,
        warnings=tuple(log.warnings),
        layer_lists=tuple(log.layer_lists),
        started_from=times.started_from if times else None,
    )


def _build(
    trt: TensorRT,
    log: BuildLog,
    onnx: Path,
    source: TensorSpec,
    options: EngineOptions,
    *,
    monitored: BuildProgress,
    times: TimingCache | None,
) -> bytes | None:
    """The plan; None: it could not be built, and `log` has the reason."""
    module = trt.module
    logger = make_logger(module, log)
    try:
        builder = module.Builder(logger)
    except (TypeError, RuntimeError) as error:  # full TensorRT without a GPU
        log.errors.extend((*log.no_gpu, str(error)))
        return None
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, logger)
    try:
        graph = onnx.read_bytes()  # TensorRT takes no path that is not UTF-8
    except OSError as error:
        log.errors.append(f"{onnx} cannot be read ({error.strerror})")
        return None
    if not parser.parse(graph) or network.num_outputs == 0:
        log.errors.extend(parser.get_error(index).desc() for index in range(parser.num_errors))
        if not log.errors:
            log.errors.append("the file has no graph outputs")  # an empty file parses without an error
        return None
    inputs = [network.get_input(index).name for index in range(network.num_inputs)]
    if inputs != [source.name]:
        log.errors.append(f"the graph's inputs are {inputs}, not {source.name} alone")
        return None
    config = configure(trt, builder, source, options)
    monitor = make_monitor(module, monitored)  # it must outlive the build
    config.progress_monitor = monitor
    if times is not None:
        times.attach(config)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None
    if times is not None:
        times.save()
    return bytes(plan)
