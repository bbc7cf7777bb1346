"""What `accuracy.py` compares: rows of data, each one way to make an int8 graph; no code that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["LADDER", "PEERS", "ROWS", "SHIPPED", "Maker", "Row"]


class Maker(StrEnum):
    """Who quantizes."""

    OURS = "ours"
    ONNXRUNTIME = "quantize_static"
    MODELOPT = "ModelOpt"


@dataclass(frozen=True, slots=True)
class Row:
    """One contender.

    `options` are fields of CalibrateOptions or of its Quantization for ours, those of `quantize_static` for ONNX
    Runtime (`operators`: kinds of nodes that are quantized, empty for all), and of ModelOpt's `quantize` for that.
    `unsigned` rows have uint8 activations and are timed too; ours gives both kinds of graphs at once.
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
    return Row(name, Maker.OURS, {**PLAIN, **changes})


TOGETHER: dict[str, object] = {
    "method": "mse",
    "equalize": True,
    "exact_input": True,
    "rounding": "feedback",
}  # defaults


# Each technique alone on top of max and weights per channel, and then together, one after the other.
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
    _ours("as it comes, and bias correction", **TOGETHER, bias_correction=True),
    _ours("as it comes, and learned rounding", **{**TOGETHER, "rounding": "learned"}),
)
SHIPPED = Row("ours, as it comes", Maker.OURS)


def _static(method: str, *operators: str, per_channel: bool = True, unsigned: bool) -> Row:
    # Symmetric int8 is what TensorRT takes; uint8 is what ONNX Runtime's own CPU kernels want.
    kind = "u8s8" if unsigned else "s8s8"
    scales = "" if per_channel else ", weights per tensor"
    options = {"method": method, "operators": list(operators), "per_channel": per_channel, "unsigned": unsigned}
    name = f"quantize_static {kind} {method}, {'+'.join(operators) or 'all operators'}{scales}"
    return Row(name, Maker.ONNXRUNTIME, options, unsigned)


PEERS = (
    _static("MinMax", unsigned=False),
    _static("Percentile", unsigned=False),
    _static("Percentile", unsigned=True),
    _static("MinMax", per_channel=False, unsigned=True),
    _static("Percentile", "Conv", unsigned=True),
    Row("ModelOpt max", Maker.MODELOPT, {"calibration_method": "max"}),
    Row("ModelOpt entropy", Maker.MODELOPT, {"calibration_method": "entropy"}),
)
ROWS = (SHIPPED, *LADDER, *PEERS)
