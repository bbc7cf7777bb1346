"""Lists the ways to make an int8 graph that `accuracy.py` compares; no code that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["LADDER", "PEERS", "ROWS", "SHIPPED", "Maker", "Row"]


class Maker(StrEnum):
    """The quantizer."""

    OURS = "ours"
    ONNXRUNTIME = "quantize_static"
    MODELOPT = "ModelOpt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to make an int8 graph.

    For ours, `options` are fields of CalibrateOptions or of its Quantization; for the others their calibration method
    and options of `quantize_static` (`operators`: op types to quantize, empty for all). `unsigned` rows have uint8
    activations and are timed too; ours makes both kinds of graphs at once.
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


def _static(method: str, *operators: str, per_channel: bool = True, unsigned: bool) -> Row:
    # TensorRT takes symmetric int8; ONNX Runtime's own CPU kernels are made for uint8 activations.
    kind = "u8s8" if unsigned else "s8s8"
    scales = "" if per_channel else ", weights per tensor"
    options = {"method": method, "operators": list(operators), "per_channel": per_channel, "unsigned": unsigned}
    name = f"quantize_static {kind} {method}, {'+'.join(operators) or 'all operators'}{scales}"
    return Row(name=name, maker=Maker.ONNXRUNTIME, options=options, unsigned=unsigned)


PEERS = (
    _static("MinMax", unsigned=False),
    _static("Percentile", unsigned=False),
    _static("Percentile", unsigned=True),
    _static("MinMax", per_channel=False, unsigned=True),
    _static("Percentile", "Conv", unsigned=True),
    Row(name="ModelOpt max", maker=Maker.MODELOPT, options={"method": "max"}),
    Row(name="ModelOpt entropy", maker=Maker.MODELOPT, options={"method": "entropy"}),
)
ROWS = (SHIPPED, *LADDER, *PEERS)
