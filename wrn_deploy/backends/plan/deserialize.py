"""Deserializes a plan; refuses a damaged one, or one for another machine, before TensorRT reads it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from wrn_deploy.backends.plan.validity import plan_cautions, profiles_of
from wrn_deploy.errors import DamagedFile, DeployError, MachineError, StaleArtifact
from wrn_deploy.machine import find_gpu

__all__ = ["check_rtx_plan", "deserialize_plan"]

# The header of a TensorRT-RTX plan, found by experiment with 1.7.1: magic, then the plan's length at byte 16.
RTX_MAGIC = b"vtrt"
RTX_LENGTH = struct.Struct("<16xQ")

# TensorRT-RTX's diagnostic -> the reason and what to do.
MACHINE_REASONS = {
    "VERSION_MISMATCH": "it was built by another version of TensorRT-RTX",
    "UNSUPPORTED_CC": "this GPU is none of those that it was built for; build it with --compute-capability",
    "OLD_CUDA_DRIVER": "the CUDA driver is too old; update it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old; update it",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory; free some",
    "CUDA_ERROR": "CUDA cannot be used; look at the GPU and its driver with nvidia-smi",
}
MALFORMED = "MALFORMED_ENGINE"


def deserialize_plan(module: Any, runtime: Any, plan: bytes, facts: Mapping[str, Any]) -> Any:
    """The engine of a plan.

    Args:
        module: TensorRT's Python module, of either flavour.
        runtime: one of its runtimes; the engine must not outlive it.
        plan: the whole file.
        facts: the plan artifact's. A version-compatible plan contains code, which is run: its sha256 matches the
            manifest, so it is the one that was built.

    Raises:
        DamagedFile: the plan is damaged, or of the other flavour.
        StaleArtifact: its profiles are not those of the manifest.
        MachineError: this machine cannot run it.
    """
    if hasattr(runtime, "get_engine_validity"):
        check_rtx_plan(plan)
        validity, reasons = runtime.get_engine_validity(plan)
        if validity == module.EngineValidity.INVALID:
            members = module.EngineInvalidityDiagnostics.__members__.items()
            raise _invalid([name for name, member in members if int(member) & int(reasons)])
    elif not plan or plan.startswith(RTX_MAGIC):
        what = "is empty" if not plan else "is one of TensorRT-RTX"
        raise DamagedFile(f"the plan {what}: expected one of TensorRT; build it again")
    gpu = find_gpu()
    cautions = plan_cautions(facts, gpu) if gpu else ()
    because = f" ({'; '.join(cautions)})" if cautions else ""
    if facts.get("version_compatible"):
        runtime.engine_host_code_allowed = True
    try:
        engine = runtime.deserialize_cuda_engine(plan)
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:  # pybind11's, for what the library throws
        raise DamagedFile(f"the plan cannot be deserialized{because} ({error}): build it again here") from error
    if engine is None:
        raise MachineError(f"the plan cannot be deserialized on this GPU{because}: build it again here")
    if facts.get("inputs") and facts.get("profiles"):
        _check_profiles(engine, facts)
    return engine


def check_rtx_plan(plan: bytes) -> None:
    """Raises DamagedFile unless the bytes are a whole plan of TensorRT-RTX."""
    if plan[:4] != RTX_MAGIC:
        raise DamagedFile(f"the plan starts with {plan[:4]!r}, not with {RTX_MAGIC!r}: build it again")
    length = RTX_LENGTH.unpack_from(plan)[0] if len(plan) >= RTX_LENGTH.size else None
    if length != len(plan):
        raise DamagedFile(f"the plan has {len(plan)} bytes and says that it has {length}: build it again")


def _check_profiles(engine: Any, facts: Mapping[str, Any]) -> None:
    """Checks the engine's profiles against the manifest, which alone limits batches later."""
    name = facts["inputs"][0]["name"]
    expected = [(each.minimum, each.optimum, each.maximum) for each in profiles_of(facts)]
    try:
        shapes = [engine.get_tensor_profile_shape(name, index) for index in range(engine.num_optimization_profiles)]
        found = [tuple(int(shape[0]) for shape in profile) for profile in shapes]
    except (IndexError, RuntimeError, ValueError) as error:
        raise StaleArtifact(f"the plan has no input {name} ({error}): build it again from this bundle") from error
    if found != expected:
        raise StaleArtifact(f"the plan's batches are {found}, and the manifest says {expected}: build it again")


def _invalid(reasons: list[str]) -> DeployError:
    if MALFORMED in reasons:
        return DamagedFile("TensorRT-RTX finds the plan damaged: build it again")
    causes = "; ".join(MACHINE_REASONS.get(name, name) for name in reasons) or "no GPU and driver that it can use"
    return MachineError(f"TensorRT-RTX cannot run the plan here: {causes}; or build it again here")
