"""The int8 weights and biases that a Q/DQ graph stores for its Convs: reads and changes them; no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.writing.qdq import INT32
from wrn_deploy.graph import DEQUANTIZE, array_of, input_of, parameter, producer

__all__ = ["Int8Weights", "copy_rounding", "find_int8_weights"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Weights:
    """The stored values of a Conv: int8 codes (O, I, kh, kw), scale (O,), bias (O,) in float or int32 with a scale."""

    codes_value: ir.Value
    scale_value: ir.Value
    bias_value: ir.Value
    bias_scale: Floats | None

    @property
    def codes(self) -> npt.NDArray[np.int8]:
        """The codes."""
        return array_of(self.codes_value).astype(np.int8)

    @property
    def scale(self) -> Floats:
        """The value of one step of int8, one per output channel."""
        return array_of(self.scale_value).astype(np.float32)

    @property
    def weights(self) -> Floats:
        """The weights, dequantized."""
        weights: Floats = self.codes.astype(np.float32) * self.scale.reshape(-1, 1, 1, 1)
        return weights

    @property
    def bias(self) -> Floats:
        """The bias, dequantized."""
        bias = array_of(self.bias_value).astype(np.float32)
        return bias if self.bias_scale is None else bias * self.bias_scale

    def set_codes(self, codes: npt.NDArray[np.integer]) -> None:
        """Replaces the codes, -127..127."""
        _store(self.codes_value, codes.astype(np.int8))

    def set_bias(self, bias: npt.NDArray[np.floating]) -> None:
        """Replaces the bias, rounded to the type that the graph stores."""
        if self.bias_scale is None:
            _store(self.bias_value, bias.astype(array_of(self.bias_value).dtype))
        else:
            steps = np.rint(bias.astype(np.float64) / self.bias_scale)
            _store(self.bias_value, np.clip(steps, -INT32, INT32).astype(np.int32))


def find_int8_weights(model: ir.Model) -> dict[str, Int8Weights]:
    """Finds the Convs by name; those with float weights or without a bias are left out."""
    found = {}
    for node in model.graph:
        weights, bias = (producer(input_of(node, index), DEQUANTIZE) for index in (1, 2))
        bias_value = input_of(bias, 0) or input_of(node, 2)
        if node.op_type != "Conv" or weights is None or bias_value is None:
            continue
        codes, scale, *_ = weights.inputs
        assert codes is not None
        assert scale is not None
        found[node.name or ""] = Int8Weights(
            codes_value=codes,
            scale_value=scale,
            bias_value=bias_value,
            bias_scale=parameter(bias, 1).astype(np.float32) if bias is not None else None,
        )
    return found


def copy_rounding(source: ir.Model, target: ir.Model) -> None:
    """Copies codes, scales and biases of the Convs that are int8 in both graphs from `source` to `target`, in place."""
    originals = find_int8_weights(source)
    for name, conv in find_int8_weights(target).items():
        if name in originals:
            conv.set_codes(originals[name].codes)
            _store(conv.scale_value, array_of(originals[name].scale_value))
            conv.set_bias(originals[name].bias)


def _store(value: ir.Value, values: npt.NDArray[np.generic]) -> None:
    value.const_value = ir.Tensor(values, name=value.name)
