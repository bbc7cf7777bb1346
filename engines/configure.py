"""From options to TensorRT's builder configuration: flags, limits, profiles, targets, and the timing cache's file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.options import EngineOptions, Hardware
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.regular import open_regular
from wrn_deploy.spec import TensorSpec

__all__ = ["configure", "load_timing_cache", "save_timing_cache"]


def configure(trt: TensorRT, builder: Any, source: TensorSpec, options: EngineOptions) -> Any:
    """Makes an IBuilderConfig, without a timing cache and a progress monitor.

    Raises:
        UsageError: a compute capability that this TensorRT-RTX does not know.
        DeployError: TensorRT refuses a setting.
    """
    module = trt.module
    config = builder.create_builder_config()
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, options.workspace_mib * 2**20)
    if options.level is not None:
        config.builder_optimization_level = options.level
    flags = {
        module.BuilderFlag.TF32: options.tf32,  # on by default, in every version
        module.BuilderFlag.REFIT: options.refit,
        module.BuilderFlag.STRIP_PLAN: options.strip,
        module.BuilderFlag.VERSION_COMPATIBLE: options.version_compatible,
    }
    for flag, wanted in flags.items():
        (config.set_flag if wanted else config.clear_flag)(flag)
    if options.hardware is not None:
        levels = module.HardwareCompatibilityLevel
        ampere_plus = options.hardware is Hardware.AMPERE_PLUS
        config.hardware_compatibility_level = levels.AMPERE_PLUS if ampere_plus else levels.SAME_COMPUTE_CAPABILITY
    for profile in options.profiles:
        ranges = builder.create_optimization_profile()
        batches = (profile.minimum, profile.optimum, profile.maximum)
        ranges.set_shape(source.name, *((batch, *source.shape) for batch in batches))
        if config.add_optimization_profile(ranges) < 0:
            raise DeployError(f"TensorRT refuses a profile of batches {batches} for {source.name}{source.shape}")
    if trt.flavor is Flavor.RTX and options.compute_capabilities:
        _set_targets(module, config, options.compute_capabilities)
    return config


def load_timing_cache(config: Any, file: Path) -> Any:
    """Loads measured times into a builder configuration; returns the cache: keep it until the plan is built.

    A missing file gives an empty cache.

    Raises:
        DeployError: the file is not a timing cache of this TensorRT version and this GPU.
    """
    measured = b""
    if file.exists():
        with open_regular(file) as stream:
            measured = stream.read()
    cache = config.create_timing_cache(measured)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise DeployError(
            f"{file} is not a timing cache of this TensorRT on this GPU: delete it, or name another --timing-cache"
        )
    return cache


def save_timing_cache(cache: Any, file: Path) -> None:
    """Writes the measured times; other processes see the old file or the new one, never a part of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, bytes(cache.serialize()))


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
