"""Lists the ways to make an int8 graph that `accuracy.py` and `calibration.py` compare; no code that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["COST_PEERS", "FLOORS", "LADDER", "NEAREST", "PASSES", "PEERS", "ROWS", "SHIPPED", "Maker", "Row"]


class Maker(StrEnum):
    """What a process runs."""

    FP32 = "fp32 run"  # only runs the fp32 graph on the images
    RANGES = "ranges"  # ours without the step around it: one pass for ranges, then both graphs
    OURS = "ours"
    ONNXRUNTIME = "quantize_static"
    NNCF = "NNCF"
    MODELOPT = "ModelOpt"
    AIMET = "AIMET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One process that reads the calibration images, and all but `Maker.FP32` make an int8 graph of them.

    For ours, `options` are fields of CalibrateOptions or of its Quantization; for the others they are keyword arguments
    of their function in `peers.py` (of `quantize_static`: `operators`, op types to quantize, empty for all). `unsigned`
    rows have uint8 activations and are timed too; ours makes both kinds of graphs at once.
    """

    name: str
    maker: Maker
    options: Mapping[str, object] = field(default_factory=dict)
    unsigned: bool = False


PLAIN: dict[str, object] = {
    "method": "max",
    "weights": "per-channel",
    "equalize": False,
    "exact_input": False,
    "bias_correction": False,
    "rounding": "nearest",
}


def _ours(name: str, **changes: object) -> Row:
    return Row(name=name, maker=Maker.OURS, options={**PLAIN, **changes})


DEFAULTS: dict[str, object] = {"method": "mse", "equalize": True, "exact_input": True, "rounding": "feedback"}

# First each technique alone on top of max and weights per channel; then together, one after the other.
LADDER = (
    _ours("base: max, weights per tensor", weights="per-tensor"),
    _ours("weights per channel"),
    _ours("  and mse", method="mse"),
    _ours("  and bias correction", bias_correction=True),
    _ours("  and equalisation", equalize=True),
    _ours("  and exact input", exact_input=True),
    _ours("  and feedback rounding", rounding="feedback"),
    _ours("  and learned rounding", rounding="learned"),
    _ours("mse, equalisation", method="mse", equalize=True),
    _ours("mse, equalisation, exact input", method="mse", equalize=True, exact_input=True),
    _ours("default, and bias correction", **DEFAULTS, bias_correction=True),
    _ours("default, and learned rounding", **{**DEFAULTS, "rounding": "learned"}),
)
SHIPPED = Row(name="ours, default", maker=Maker.OURS)
NEAREST = Row(name="ours, rounding to the nearest", maker=Maker.OURS, options={"rounding": "nearest"})


def _static(method: str, *operators: str, per_channel: bool = True, unsigned: bool) -> Row:
    # TensorRT takes symmetric int8; ONNX Runtime's own CPU kernels are made for uint8 activations.
    kind = "u8s8" if unsigned else "s8s8"
    scales = "" if per_channel else ", weights per tensor"
    options = {"method": method, "operators": list(operators), "per_channel": per_channel, "unsigned": unsigned}
    name = f"quantize_static {kind} {method}, {'+'.join(operators) or 'all operators'}{scales}"
    return Row(name=name, maker=Maker.ONNXRUNTIME, options=options, unsigned=unsigned)


def _nncf(correction: str, preset: str) -> Row:
    # `performance` is symmetric (int8, and uint8 behind a ReLU), `mixed` has asymmetric activations.
    options = {"fast": correction == "fast", "preset": preset}
    return Row(name=f"NNCF {correction}, {preset}", maker=Maker.NNCF, options=options, unsigned=True)


def _aimet(scheme: str, *, equalize: bool = False, unsigned: bool) -> Row:
    kind, before = "u8s8" if unsigned else "s8s8", ", equalised" if equalize else ""
    options = {"scheme": scheme, "equalize": equalize, "unsigned": unsigned}
    return Row(name=f"AIMET {kind} {scheme}{before}", maker=Maker.AIMET, options=options, unsigned=unsigned)


PEERS = (
    _static("MinMax", unsigned=False),
    _static("Entropy", unsigned=False),
    _static("Percentile", unsigned=False),
    _static("Entropy", unsigned=True),
    _static("Percentile", unsigned=True),
    _static("MinMax", per_channel=False, unsigned=True),
    _static("Percentile", "Conv", unsigned=True),
    _nncf("fast", "performance"),
    _nncf("fast", "mixed"),
    _nncf("full", "performance"),
    _nncf("full", "mixed"),
    Row(name="ModelOpt max", maker=Maker.MODELOPT, options={"method": "max"}),
    Row(name="ModelOpt entropy", maker=Maker.MODELOPT, options={"method": "entropy"}),
    _aimet("min_max", unsigned=False),
    _aimet("tf_enhanced", unsigned=False),
    _aimet("tf_enhanced", equalize=True, unsigned=False),
    _aimet("tf_enhanced", unsigned=True),
)

# Those whose cost `calibration.py` measures: one row for each way that costs something else.
FLOORS = (
    Row(name="fp32 run", maker=Maker.FP32),
    Row(name="fp32 run, 1 thread", maker=Maker.FP32, options={"threads": 1}),
)
PASSES = tuple(
    Row(name=f"ours, {method} pass", maker=Maker.RANGES, options={"method": method})
    for method in ("max", "percentile", "entropy", "mse")
)
COST_PEERS = tuple(
    row
    for row in PEERS
    if row.name
    in {
        "quantize_static s8s8 MinMax, all operators",
        "quantize_static s8s8 Entropy, all operators",
        "NNCF fast, performance",
        "NNCF full, performance",
        "ModelOpt max",
        "ModelOpt entropy",
        "AIMET s8s8 min_max",
        "AIMET s8s8 tf_enhanced",
    }
)
ROWS = (SHIPPED, NEAREST, *LADDER, *PEERS, *FLOORS, *PASSES)
