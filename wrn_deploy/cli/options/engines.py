"""The options of build-engine: their types, names and texts; and how they become what the pipeline takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.cli.options.shared import BATCHES, flag, option
from wrn_deploy.engines.flavor import Flavor
from wrn_deploy.engines.options import Hardware, Profile, parse_profile
from wrn_deploy.errors import UsageError
from wrn_deploy.spec import Precision

__all__ = [
    "DEFAULT_PROFILE", "Bf16", "Capabilities", "FlavorOf", "Fp8", "Fp16", "HardwareOf", "Int8", "Level", "Profiles",
    "Rebuild", "Refit", "Strip", "Tf32", "TimingCache", "VersionCompatible", "Workspace",
    "parse_capabilities", "parse_profiles", "precision_of",
]  # fmt: skip

PRECISION, BUILDER, WHERE = "Precision", "Builder", "Where the plan runs"
DEFAULT_PROFILE = "1:8:32"

Fp16 = Annotated[bool, flag("--fp16", "Build from the fp16 graph.", rich_help_panel=PRECISION)]
Int8 = Annotated[bool, flag("--int8", "Build from the int8 graph, which calibration makes.", rich_help_panel=PRECISION)]
Bf16 = Annotated[bool, flag("--bf16", "Experimental. Build from the bf16 graph.", rich_help_panel=PRECISION)]
Fp8 = Annotated[
    bool, flag("--fp8", "Experimental. Build from the fp8 graph, which calibration makes.", rich_help_panel=PRECISION)
]

FlavorOf = Annotated[Flavor | None, typer.Option(help="Which TensorRT; the first installed if not given.")]
Rebuild = Annotated[bool, flag("--rebuild", "Build although the plan is up to date.")]
Profiles = Annotated[
    list[str],
    option("MIN:OPT:MAX", "The smallest batch, the one to tune for, the largest; give it again for more.", BATCHES),
]

Workspace = Annotated[int | None, option("MIB", "Scratch memory of a layer, at most.", BUILDER, least=1)]
Level = Annotated[int | None, option("0..5", "How long to search; TensorRT's own is 3.", BUILDER)]
TimingCache = Annotated[
    Path | None, option("FILE", "Measured times, read and written; TensorRT alone, not RTX.", BUILDER)
]
Tf32 = Annotated[
    bool, typer.Option("--tf32/--no-tf32", metavar="", help="Let fp32 layers use TF32.", rich_help_panel=BUILDER)
]
Refit = Annotated[bool, flag("--refit", "Allow for new weights in the built engine.", rich_help_panel=BUILDER)]
Strip = Annotated[
    bool, flag("--strip", "Leave the weights out; who opens the plan refits it.", rich_help_panel=BUILDER)
]

VersionCompatible = Annotated[
    bool, flag("--version-compatible", "Also on later versions; TensorRT alone, not RTX.", rich_help_panel=WHERE)
]
HardwareOf = Annotated[
    Hardware | None,
    typer.Option("--hardware-compatible", help="Also on these GPUs; TensorRT alone, not RTX.", rich_help_panel=WHERE),
]
Capabilities = Annotated[
    list[str] | None,
    option(
        "X.Y", "A GPU of TensorRT-RTX, as in 8.9 or SM89; give it again for more. If not given: SM80 and later.", WHERE
    ),
]


def precision_of(*, fp16: bool, int8: bool, bf16: bool, fp8: bool) -> Precision:
    """The one precision that was asked for."""
    flags = {Precision.FP16: fp16, Precision.INT8: int8, Precision.BF16: bf16, Precision.FP8: fp8}
    given = [precision for precision, wanted in flags.items() if wanted]
    if len(given) != 1:
        said = " and ".join(f"--{precision}" for precision in given) if given else "no precision"
        raise UsageError(f"{said} given: expected one of {', '.join(f'--{precision}' for precision in flags)}")
    return given[0]


def parse_capabilities(texts: Sequence[str] | None) -> tuple[str, ...]:
    """TensorRT's names of compute capabilities, "8.9" being "SM89"; other texts are left to the builder."""
    numbers = re.compile(r"(\d+)\.(\d)")
    return tuple(f"SM{found[1]}{found[2]}" if (found := numbers.fullmatch(text)) else text for text in texts or ())


def parse_profiles(texts: Sequence[str]) -> tuple[Profile, ...]:
    """Profiles from texts, as in ["1:1:1", "2:8:32"]."""
    return tuple(parse_profile(text) for text in texts)
