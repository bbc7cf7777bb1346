"""Lists the ways to make an int8 graph that `accuracy.py` and `calibration.py` compare; no code that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "COST_PEERS", "FLOORS", "FRONTIER", "LADDER", "NEAREST", "PASSES", "PEERS", "ROWS", "SHIPPED", "Maker", "Row",
]  # fmt: skip


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

    Attributes:
        name: unique among all rows.
        maker: what the process runs.
        options: for ours, fields of CalibrateOptions or of its Quantization; for the others, keyword arguments of their
            function in `peers.py` (of `quantize_static`: `operators`, op types to quantize, empty for all).
        unsigned: whether the graph has uint8 activations: it is timed too; ours makes both kinds of graphs at once.
        images: the number of calibration images (None: that of all rows).
        constants: constants of modules to change in this process before it works, as "module:NAME": value. They are no
            options of the product: such a row shows what another value would cost and give.
    """

    name: str
    maker: Maker
    options: Mapping[str, object] = field(default_factory=dict)
    unsigned: bool = False
    images: int | None = None
    constants: Mapping[str, int] = field(default_factory=dict)


PLAIN: dict[str, object] = {
    "method": "max",
    "weights": "per-channel",
    "equalize": False,
    "exact_input": False,
    "full_range": False,
    "rounding": "nearest",
}


def _ours(name: str, **changes: object) -> Row:
    return Row(name=name, maker=Maker.OURS, options={**PLAIN, **changes})


SHIPPED = Row(name="ours, default", maker=Maker.OURS)
NEAREST = Row(name="ours, nearest rounding", maker=Maker.OURS, options={"rounding": "nearest"})

# First each technique alone on top of max and weights per channel; then together, one after the other. With feedback
# rounding the last one is the default.
LADDER = (
    _ours("base: max, weights per tensor", weights="per-tensor"),
    _ours("max, weights per channel"),
    _ours("per channel, mse", method="mse"),
    _ours("per channel, equalisation", equalize=True),
    _ours("per channel, exact input", exact_input=True),
    _ours("per channel, full range", full_range=True),
    _ours("per channel, feedback rounding", rounding="feedback"),
    _ours("mse, equalisation", method="mse", equalize=True),
    _ours("mse, equalisation, exact input", method="mse", equalize=True, exact_input=True),
    _ours("mse, equalisation, exact input, full range", method="mse", equalize=True, exact_input=True, full_range=True),
)


def _changed(name: str, **options: object) -> Row:
    return Row(name=f"ours, {name}", maker=Maker.OURS, options=options)


def _constant(name: str, constant: str, value: int) -> Row:
    constants = {f"wrn_deploy.calib.collection.moments:{constant}": value}
    return Row(name=f"ours, {name}", maker=Maker.OURS, constants=constants)


# The default with one thing changed.
FRONTIER = (
    *(Row(name=f"ours, {images} images", maker=Maker.OURS, images=images) for images in (16, 32, 64, 128, 512, 1024)),
    *(_changed(method, method=method) for method in ("max", "percentile", "entropy")),
    NEAREST,
    _changed("no equalisation", equalize=False),
    _changed("no full range", full_range=False),
    _changed("no exact input", exact_input=False),
    *(_constant(f"blocks of {rows} rows", "ROWS", rows) for rows in (48, 288, 576)),
    *(_constant(f"{windows} windows for each row", "WINDOWS_PER_ROW", windows) for windows in (2, 4, 32)),
)


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
    Row(name=f"ours, {method} pass", maker=Maker.RANGES, options={"method": method}) for method in ("max", "mse")
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
ROWS = (SHIPPED, *LADDER, *FRONTIER, *PEERS, *FLOORS, *PASSES)
