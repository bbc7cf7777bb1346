"""From options to TensorRT's builder configuration: flags, limits, profiles and targets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.options import EngineOptions, Hardware, Tiling
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.spec import TensorSpec

__all__ = ["configure"]


def configure(trt: TensorRT, builder: Any, source: TensorSpec, options: EngineOptions) -> Any:
    """Makes an IBuilderConfig, without a timing cache and a progress monitor.

    Raises:
        UsageError: a compute capability that this TensorRT-RTX does not know.
        DeployError: TensorRT refuses a setting.
    """
    module = trt.module
    config = builder.create_builder_config()
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    _set_limits(module, config, options)
    _set_flags(module, config, options)
    for profile in options.profiles:
        ranges = builder.create_optimization_profile()
        batches = (profile.minimum, profile.optimum, profile.maximum)
        ranges.set_shape(source.name, *((batch, *source.shape) for batch in batches))
        if config.add_optimization_profile(ranges) < 0:
            raise DeployError(f"TensorRT refuses a profile of batches {batches} for {source.name}{source.shape}")
    if trt.flavor is Flavor.RTX:
        # "Ensures that inference will support graph capture" (NVIDIA's documentation of the flag); the build fails if
        # the network needs memory that is only known while it runs, as none of ours does.
        config.set_flag(module.BuilderFlag.REQUIRE_USER_ALLOCATION)
        if options.compute_capabilities:
            _set_targets(module, config, options.compute_capabilities)
    return config


def _set_limits(module: Any, config: Any, options: EngineOptions) -> None:
    """What is given; the others keep TensorRT's defaults."""
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.aux_streams is not None:
        config.max_aux_streams = options.aux_streams
    if options.timing_iterations is not None:
        config.avg_timing_iterations = options.timing_iterations
    if options.tiling is not None:
        levels = module.TilingOptimizationLevel
        config.tiling_optimization_level = {
            Tiling.NONE: levels.NONE,
            Tiling.FAST: levels.FAST,
            Tiling.MODERATE: levels.MODERATE,
            Tiling.FULL: levels.FULL,
        }[options.tiling]
    if options.hardware is not None:
        levels = module.HardwareCompatibilityLevel
        ampere_plus = options.hardware is Hardware.AMPERE_PLUS
        config.hardware_compatibility_level = levels.AMPERE_PLUS if ampere_plus else levels.SAME_COMPUTE_CAPABILITY


def _set_flags(module: Any, config: Any, options: EngineOptions) -> None:
    flags = {
        module.BuilderFlag.TF32: options.tf32,  # on by default, in every version
        module.BuilderFlag.REFIT: options.refit,
        module.BuilderFlag.STRIP_PLAN: options.strip,
        module.BuilderFlag.VERSION_COMPATIBLE: options.version_compatible,
        module.BuilderFlag.EXCLUDE_LEAN_RUNTIME: options.exclude_lean_runtime,  # TensorRT wants the one before it first
    }
    for flag, wanted in flags.items():
        (config.set_flag if wanted else config.clear_flag)(flag)


def _set_targets(module: Any, config: Any, targets: Collection[str]) -> None:
    """TensorRT-RTX only: sets the compute capabilities of the plan, sorted, so that their order does not matter."""
    known = {name: value for name, value in module.ComputeCapability.__members__.items() if name != "NONE"}
    for name in targets:
        if name not in known:
            raise UsageError(f"--compute-capability {name}: expected one of {', '.join(known)}")
    config.num_compute_capabilities = len(targets)
    for index, name in enumerate(sorted(targets)):
        if not config.set_compute_capability(known[name], index):
            raise DeployError(f"TensorRT-RTX refuses --compute-capability {name} here: leave it out")
