"""The options of `build-engine` only: their types, names and texts; and how they become what the pipeline takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from wrn_deploy.cli.options.declare import choice, flag, option
from wrn_deploy.engines.options import EngineOptions, Hardware, Profile, parse_profile
from wrn_deploy.errors import UsageError
from wrn_deploy.spec import Precision

__all__ = ["PlanFlags", "PrecisionFlags", "parse_capabilities", "parse_profiles"]

BATCHES, PRECISION, BUILDER, TARGET = "Batch sizes", "Precision", "Builder", "Where the plan runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionFlags:
    """Which graph the plan is built from."""

    fp16: Annotated[bool, flag("--fp16", "Build from the fp16 graph.", PRECISION)] = False
    int8: Annotated[bool, flag("--int8", "Build from the int8 graph, which calibration makes.", PRECISION)] = False
    bf16: Annotated[bool, flag("--bf16", "Experimental. Build from the bf16 graph.", PRECISION)] = False
    fp8: Annotated[
        bool, flag("--fp8", "Experimental. Build from the fp8 graph, which calibration makes.", PRECISION)
    ] = False

    def precision(self) -> Precision:
        """The one precision that was given; raises UsageError if there is none, or several."""
        flags = {
            Precision.FP16: self.fp16,
            Precision.INT8: self.int8,
            Precision.BF16: self.bf16,
            Precision.FP8: self.fp8,
        }
        given = [precision for precision, wanted in flags.items() if wanted]
        if len(given) != 1:
            found = " and ".join(f"--{precision}" for precision in given) if given else "no precision"
            raise UsageError(f"{found} given: expected one of {', '.join(f'--{precision}' for precision in flags)}")
        return given[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFlags:
    """What the plan is built for, and how."""

    profile: Annotated[
        list[str], option("MIN:OPT:MAX", "Smallest batch, batch to tune for, largest batch; repeatable.", BATCHES)
    ] = field(default_factory=lambda: ["1:8:32"])
    workspace: Annotated[int | None, option("MIB", "Maximum scratch memory of a layer.", BUILDER, least=1)] = None
    optimization_level: Annotated[
        int | None, option("0..5", "How long to search. Default: TensorRT's own, 3.", BUILDER)
    ] = None
    timing_cache: Annotated[
        Path | None, option("FILE", "Measured times, read and written; TensorRT only, not RTX.", BUILDER)
    ] = None
    tf32: Annotated[bool, flag("--tf32/--no-tf32", "Let fp32 layers use TF32.", BUILDER)] = True
    refit: Annotated[bool, flag("--refit", "Allow new weights in the built engine.", BUILDER)] = False
    strip: Annotated[bool, flag("--strip", "Leave the weights out; refit the plan after opening it.", BUILDER)] = False
    version_compatible: Annotated[
        bool, flag("--version-compatible", "Run on later versions too; TensorRT only, not RTX.", TARGET)
    ] = False
    hardware_compatible: Annotated[
        Hardware | None, choice(Hardware, "Run on these GPUs too; TensorRT only, not RTX:", TARGET)
    ] = None
    compute_capability: Annotated[
        list[str] | None,
        option("X.Y", "GPU for TensorRT-RTX, as in 8.9 or SM89; repeatable. Default: SM80 and later.", TARGET),
    ] = None

    def engine(self) -> EngineOptions:
        """The options as the engine's builder takes them."""
        return EngineOptions(
            profiles=parse_profiles(self.profile),
            workspace_mib=self.workspace,
            level=self.optimization_level,
            tf32=self.tf32,
            version_compatible=self.version_compatible,
            hardware=self.hardware_compatible,
            compute_capabilities=parse_capabilities(self.compute_capability),
            refit=self.refit,
            strip=self.strip,
            timing_cache=self.timing_cache,
        )


def parse_capabilities(texts: Sequence[str] | None) -> tuple[str, ...]:
    """TensorRT's names of compute capabilities, "8.9" being "SM89"; other texts are left to the builder to refuse."""
    numbers = re.compile(r"(\d+)\.(\d)")
    return tuple(f"SM{found[1]}{found[2]}" if (found := numbers.fullmatch(text)) else text for text in texts or ())


def parse_profiles(texts: Sequence[str]) -> tuple[Profile, ...]:
    """Profiles from texts, as in ["1:1:1", "2:8:32"]."""
    return tuple(parse_profile(text) for text in texts)
