"""The options of a plan: profiles, limits, compatibility; and which TensorRT has which of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.errors import UsageError
from wrn_deploy.files.record import from_record

__all__ = [
    "CURRENT", "EngineOptions", "Hardware", "Profile", "Tiling", "check_flavor", "parse_profile", "read_options",
]  # fmt: skip

CURRENT = "CURRENT"  # TensorRT-RTX's name for the compute capability of the GPU it builds on
LEVELS = range(6)
# Options that one flavor lacks, and what it has instead.
INSTEAD = {
    "--version-compatible": "its plans run only on the version that built them: build one with each version",
    "--hardware-compatible": "its plans run on GPUs of several kinds anyway: name them with --compute-capability",
    "--timing-cache": "it measures nothing ahead of time, so a timing cache has no effect: leave it out",
    "--timing-iterations": "it measures nothing ahead of time: leave it out",
    "--tiling": "it searches for nothing ahead of time, and the plan would be the same: leave it out",
    "--compute-capability": "its plans run on the GPU that they are built on; --hardware-compatible allows for others",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One optimization profile: the smallest, the usual and the largest batch."""

    minimum: int = 1
    optimum: int = 8
    maximum: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise UsageError(
                f"batches min {self.minimum}, opt {self.optimum}, max {self.maximum}: expected 1 <= min <= opt <= max"
            )


def parse_profile(text: str) -> Profile:
    """A profile from a text, as in "1:8:32"."""
    try:
        minimum, optimum, maximum = (int(part) for part in text.split(":"))
    except ValueError as error:
        raise UsageError(
            f"--profile {text!r}: expected three batch sizes separated by colons, such as 1:8:32"
        ) from error
    return Profile(minimum, optimum, maximum)


class Hardware(StrEnum):
    """Which GPUs a plan of full TensorRT is for, beyond the kind it is built on: HardwareCompatibilityLevel's names."""

    SAME_COMPUTE_CAPABILITY = "same-compute-capability"
    AMPERE_PLUS = "ampere-plus"


class Tiling(StrEnum):
    """How long the builder searches for tiles that fit into the L2 cache: TilingOptimizationLevel's names."""

    NONE = "none"
    FAST = "fast"
    MODERATE = "moderate"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to build a plan; precision is not an option, since it is in the graph.

    Attributes:
        profiles: the batches the plan is for; TensorRT tunes for each profile's `optimum`.
        workspace_mib: the most scratch memory a layer may take (None: TensorRT's default).
        level: how long the builder may search, 0 to 5 (None: TensorRT's default, 3).
        aux_streams: how many streams besides its own an inference may use, 0 up (None: TensorRT's choice).
        tiling: full TensorRT only: how long it may search for tiles (None: TensorRT's default, none).
        timing_iterations: full TensorRT only: how many times each kernel is timed, 1 up (None: TensorRT's default, 1).
        tf32: whether fp32 layers may round their inputs to TF32, which has 10 bits of mantissa.
        version_compatible: full TensorRT only: the plan also runs on later versions, and on the lean runtime.
        exclude_lean_runtime: a version-compatible plan without the runtime in it: only its own version runs it.
        hardware: full TensorRT only: the plan also runs on these GPUs.
        compute_capabilities: TensorRT-RTX only: names as in "SM89" (none: those that it supports by default).
        refit: weights can be replaced in the built engine.
        strip: the plan has no weights; whoever opens it must refit it.
        timing_cache: full TensorRT only: a file of measured times, read and written (None: the default one, see
            `timing_cache.py`). Not part of the recipe: it saves measurements, and changes a plan only as another
            measurement would.
        no_timing_cache: measures everything, and keeps no times.
    """

    profiles: tuple[Profile, ...] = (Profile(),)
    workspace_mib: int | None = None
    level: int | None = None
    aux_streams: int | None = None
    tiling: Tiling | None = None
    timing_iterations: int | None = None
    tf32: bool = True
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    hardware: Hardware | None = None
    compute_capabilities: tuple[str, ...] = ()
    refit: bool = False
    strip: bool = False
    timing_cache: Path | None = None
    no_timing_cache: bool = False

    def __post_init__(self) -> None:
        _check_profiles(self.profiles)
        if self.level is not None and self.level not in LEVELS:
            raise UsageError(f"--optimization-level {self.level}: expected 0 to {LEVELS[-1]}")
        if self.aux_streams is not None and self.aux_streams < 0:
            raise UsageError(f"--aux-streams {self.aux_streams}: expected 0 (a single stream) or more")
        if self.timing_iterations is not None and self.timing_iterations < 1:
            raise UsageError(f"--timing-iterations {self.timing_iterations}: expected at least 1")
        if self.exclude_lean_runtime and not self.version_compatible:
            raise UsageError(
                "--exclude-lean-runtime: expected --version-compatible with it, whose plans contain a runtime"
            )
        if self.no_timing_cache and self.timing_cache is not None:
            raise UsageError(f"--timing-cache {self.timing_cache} and --no-timing-cache: expected one of them")
        _check_targets(self.compute_capabilities)

    def describe(self) -> dict[str, Any]:
        """Every option that changes the plan, as JSON types."""
        record = dataclasses.asdict(self)
        del record["timing_cache"], record["no_timing_cache"]
        record["compute_capabilities"] = sorted(self.compute_capabilities)
        record["profiles"] = [dataclasses.asdict(profile) for profile in self.profiles]
        return record


def check_flavor(options: EngineOptions, flavor: Flavor) -> None:
    """Raises UsageError for an option that this TensorRT lacks, with what it has instead."""
    rtx = flavor is Flavor.RTX
    lacking = {
        "--version-compatible": rtx and options.version_compatible,
        "--hardware-compatible": rtx and options.hardware is not None,
        "--timing-cache": rtx and options.timing_cache is not None,
        "--timing-iterations": rtx and options.timing_iterations is not None,
        "--tiling": rtx and options.tiling is not None,
        "--compute-capability": not rtx and bool(options.compute_capabilities),
    }
    for option, given in lacking.items():
        if given:
            raise UsageError(f"{option} with {flavor}: {INSTEAD[option]}")


def read_options(record: Mapping[str, Any]) -> EngineOptions:
    """The options in a plan's recipe, which `EngineOptions.describe` wrote among others; raises DamagedFile."""
    names = {field.name for field in dataclasses.fields(EngineOptions)}
    kept = {name: value for name, value in record.items() if name in names}
    return from_record(EngineOptions, {**kept, "timing_cache": None, "no_timing_cache": False}, "the plan's options")


def _check_profiles(profiles: Sequence[Profile]) -> None:
    if not profiles:
        raise UsageError("no profile: expected at least one, such as --profile 1:8:32")
    for number, profile in enumerate(profiles):
        if profile in profiles[:number]:
            batches = f"{profile.minimum}:{profile.optimum}:{profile.maximum}"
            raise UsageError(f"--profile {batches} twice: expected different profiles")


def _check_targets(targets: Sequence[str]) -> None:
    if len(set(targets)) < len(targets):
        raise UsageError(f"--compute-capability {' '.join(targets)}: expected each only once")
    if CURRENT in targets and len(targets) > 1:
        raise UsageError(f"--compute-capability {' '.join(targets)}: expected {CURRENT} alone, or names without it")
