"""Whether a plan fits this machine, from its entry in the manifest; the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wrn_deploy.errors import DamagedFile, how_to_install
from wrn_deploy.files.record import from_record
from wrn_deploy.machine import Gpu, package_versions
from wrn_deploy.runtime.plan_profile import PlanProfile
from wrn_deploy.spec import TensorSpec

__all__ = ["batches_of", "input_of", "lean_obstacle", "plan_mismatch", "plan_warnings", "profiles_of"]

RTX = "tensorrt_rtx"
AMPERE = (8, 0)
# GPUs that run TensorRT-RTX plans without a target: NVIDIA's TensorRT-RTX documentation, "CPU-Only AOT and TensorRT-RTX
# Engines"; 12.1 is among the targets that 1.7.1 knows.
DOCUMENTED = ("8.0", "8.6", "8.9", "12.0", "12.1")
# The lean runtime's packages -> the oldest driver on Linux: NVIDIA's TensorRT documentation, "Prerequisites".
LEAN_DRIVERS = {"tensorrt-lean-cu13": 580, "tensorrt-lean-cu12": 535}


def profiles_of(facts: Mapping[str, Any]) -> tuple[PlanProfile, ...]:
    """The plan's profiles, in its own order.

    Raises:
        DamagedFile: the manifest lacks them.
    """
    try:
        profiles = tuple(
            PlanProfile(**{name: _whole(record[name]) for name in ("minimum", "optimum", "maximum")})
            for record in facts["profiles"]
        )
    except (KeyError, TypeError) as error:
        raise DamagedFile(f"the manifest lacks the plan's batches ({error!r}): rebuild it") from error
    if not profiles or not all(1 <= each.minimum <= each.optimum <= each.maximum for each in profiles):
        raise DamagedFile(f"the manifest says that the plan's batches are {facts['profiles']}: rebuild it")
    return profiles


def batches_of(facts: Mapping[str, Any]) -> range:
    """The batches from the smallest of any profile to the largest; profiles may leave gaps."""
    profiles = profiles_of(facts)
    return range(min(each.minimum for each in profiles), max(each.maximum for each in profiles) + 1)


def input_of(facts: Mapping[str, Any]) -> TensorSpec:
    """The plan's one input, which need not be that of the bundle's graphs; raises DamagedFile if it is not there."""
    try:
        (record,) = facts["inputs"]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"the manifest lacks the plan's input ({error!r}): rebuild it") from error
    return from_record(TensorSpec, record, "the plan's input")


def plan_mismatch(
    facts: Mapping[str, Any],
    version: str,
    gpu: Gpu | None,
    *,
    remedy: str = "",
    flavor: str | None = None,
    lean: bool = False,
) -> str | None:
    """How a plan differs from this machine and what to do; None if it fits.

    Args:
        facts: the plan artifact's.
        version: the installed version of its flavour.
        gpu: this machine's; None: compares only the software.
        remedy: the command that builds it again, as in "wrn-deploy build-engine BUNDLE --fp16 --rebuild".
        flavor: the flavour to run it; None: the plan's own.
        lean: whether TensorRT's lean runtime is to run it, which runs version-compatible plans alone.
    """
    again = f"rebuild it here{f': `{remedy}`' if remedy else ''}"
    if facts.get("strip"):
        return f"the plan has no weights (it was built with --strip), and nothing here refits it: {again}"
    if lean and not facts.get("version_compatible"):
        return (
            "TensorRT's lean runtime, which is installed here, runs version-compatible plans alone: build this one "
            f"again with --version-compatible, or {how_to_install('gpu', 'tensorrt')} for full TensorRT"
        )
    differences = []
    if flavor is not None and facts.get("flavor") != flavor:
        differences.append(f"for {facts.get('flavor')}, here {flavor}")
    if not _version_fits(facts, version):
        differences.append(f"{facts.get('flavor')} {facts.get('version')}, here {version}")
    if gpu is not None and (other := _other_gpu(facts, gpu)) is not None:
        differences.append(other)
    return f"the plan was built elsewhere: {'; '.join(differences)}; {again}" if differences else None


def lean_obstacle(gpu: Gpu) -> str | None:
    """Why the installed lean runtime cannot use this driver: a call on it would end the process, without an error."""
    for package in package_versions(*LEAN_DRIVERS):
        needed = LEAN_DRIVERS[package]
        if _numbers(gpu.driver) < (needed,):
            return f"{package} needs the driver {needed} or later, here {gpu.driver}: update it"
    return None


def plan_warnings(facts: Mapping[str, Any], gpu: Gpu) -> tuple[str, ...]:
    """Differences that may matter but do not prevent a try: another GPU of the same kind, an older driver."""
    warnings = []
    if facts.get("flavor") == RTX:
        if not facts.get("compute_capabilities") and gpu.compute_capability not in DOCUMENTED:
            warnings.append(
                f"not known to run on compute capability {gpu.compute_capability} ({gpu.name}): "
                f"TensorRT-RTX documents {', '.join(DOCUMENTED)}"
            )
    elif facts.get("hardware") is None and facts.get("gpu") not in (None, gpu.name):
        warnings.append(f"tuned on {facts['gpu']}, here {gpu.name}: it may be slow, or not run")
    driver = facts.get("driver")
    if isinstance(driver, str) and _numbers(gpu.driver) < _numbers(driver):
        warnings.append(f"built with driver {driver}, here the older {gpu.driver}")
    return tuple(warnings)


def _version_fits(facts: Mapping[str, Any], version: str) -> bool:
    """The same version; or a later one, for a version-compatible plan of full TensorRT with its runtime in it.

    NVIDIA's documentation, "Engine Compatibility": TensorRT-RTX plans never run on another release; version-compatible
    plans of TensorRT run on later ones by the lean runtime that they hold, and need that of their own version if they
    hold none.
    """
    built = facts.get("version")
    if built == version:
        return True
    portable = facts.get("version_compatible") and not facts.get("exclude_lean_runtime")
    if not isinstance(built, str) or facts.get("flavor") == RTX or not portable:
        return False
    return _numbers(built) < _numbers(version)


def _other_gpu(facts: Mapping[str, Any], gpu: Gpu) -> str | None:
    """How the GPU differs from the plan's; None if it does not, or that is unknown."""
    here = f"here {gpu.compute_capability} ({gpu.name})"
    targets = facts.get("compute_capabilities") or []
    portable = facts.get("flavor") == RTX and targets != ["CURRENT"]
    if portable and targets:
        named = [f"{name[2:-1]}.{name[-1]}" for name in targets]  # SM120 is 12.0
        return None if gpu.compute_capability in named else f"for compute capability {', '.join(named)}, {here}"
    if portable or facts.get("hardware") == "ampere-plus":
        fits = _numbers(gpu.compute_capability) >= AMPERE
        return None if fits else f"for compute capability 8.0 up, {here}"
    built_on = facts.get("compute_capability")
    if built_on in (None, gpu.compute_capability):
        return None
    return f"compute capability {built_on} ({facts.get('gpu')}), {here}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a number of images")
    return value
