"""The parts of Q/DQ graphs: codes, Q and DQ after a value, stored weights with a DQ only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, array_of, producer, value_name

__all__ = [
    "FP8", "INT8", "INT32", "SMALLEST", "Codec", "Floats", "Scale", "add_constant", "output_of", "quantize_bias",
    "quantize_value", "quantize_weights", "rounded_up", "weight_scale", "weights_of", "without_unused",
]  # fmt: skip

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)  # the smallest scale: that of a channel of zeros
INT32 = 2.0**31 - 1

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Codec:
    """A type of codes around zero, the code of the largest magnitude, and whether a MaxPool of TensorRT takes them."""

    type: ir.DataType
    largest: float
    pools: bool

    def encode(self, steps: Floats) -> npt.NDArray[np.generic]:
        """Values in units of their scale, none beyond `largest` -> the nearest codes; ties go to the even one."""
        nearest = np.rint(steps) if self.type.is_integer() else steps
        return nearest.astype(self.type.numpy())

    def zeros(self, *shape: int) -> npt.NDArray[np.generic]:
        """Zero points."""
        return np.zeros(shape, dtype=self.type.numpy())


INT8 = Codec(ir.DataType.INT8, 127.0, pools=True)
# 4 bits of exponent, 3 of mantissa, no infinity. TensorRT-RTX 1.7 runs a MaxPool between Q/DQ of it in fp16.
FP8 = Codec(ir.DataType.FLOAT8E4M3FN, 448.0, pools=False)


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale and zero point: value = (code - zero_point) * scale; both scalars, or one per channel on `axis`."""

    scale: Floats
    zero_point: npt.NDArray[np.generic]
    axis: int | None = None


def weights_of(graph: ir.Graph, conv: str) -> npt.NDArray[np.float32]:
    """The fp32 weights of the Conv of that name."""
    return array_of(graph.initializers[f"{conv}.weight"]).astype(np.float32)


def add_constant(graph: ir.Graph, name: str, values: npt.NDArray[np.generic]) -> ir.Value:
    """Adds an initializer."""
    value = ir.val(name, const_value=ir.Tensor(values, name=name))
    graph.initializers.add(value)
    return value


def output_of(node: ir.Node, type_: ir.TypeProtocol | None, shape: ir.Shape | None) -> ir.Value:
    """Gives the node's output the node's name, a type and a shape, and returns it."""
    output = node.outputs[0]
    output.name, output.type, output.shape = node.name, type_, shape
    return output


def quantize_value(graph: ir.Graph, value: ir.Value, scaling: Scale) -> ir.Value:
    """Adds Q and DQ behind the value's producer; returns the dequantized value, which has no users yet."""
    name = value_name(value)
    scale, zero_point = _add_scale(graph, name, scaling)
    quantize = ir.node(QUANTIZE, [value, scale, zero_point], name=f"{name}.q")
    codes = output_of(quantize, zero_point.type, value.shape)
    dequantize = ir.node(DEQUANTIZE, [codes, scale, zero_point], name=f"{name}.dq")
    made_by = producer(value)
    if made_by is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(made_by, [quantize, dequantize])
    return output_of(dequantize, scale.type, value.shape)


def quantize_weights(
    graph: ir.Graph, conv: ir.Node, weights: npt.NDArray[np.float32], scale: Floats, codec: Codec = INT8
) -> None:
    """Replaces the Conv's weights by codes and a DQ; `scale` has one value per output channel, or one for all."""
    codes = codec.encode(weights / scale.astype(np.float32).reshape(-1, 1, 1, 1))
    scaling = Scale(scale, codec.zeros(*scale.shape), axis=0 if scale.ndim else None)
    conv.replace_input_with(1, _dequantize_stored(graph, conv, f"{conv.name}.weight", codes, scaling))


def quantize_bias(graph: ir.Graph, conv: ir.Node, bias: Floats, scale: Floats) -> None:
    """Replaces the Conv's bias by int32 in units of input scale x weight scale, and a DQ."""
    codes = np.clip(np.rint(bias / scale.astype(np.float64)), -INT32, INT32).astype(np.int32)
    scaling = Scale(scale.astype(np.float32), np.zeros(len(scale), dtype=np.int32), axis=0)
    conv.replace_input_with(2, _dequantize_stored(graph, conv, f"{conv.name}.bias", codes, scaling))


def weight_scale(weights: npt.NDArray[np.float32], codec: Codec = INT8) -> npt.NDArray[np.float64]:
    """One scale per output channel: its largest magnitude gets the largest code; zeros have the others' least scale."""
    amax: npt.NDArray[np.float64] = np.abs(weights).reshape(len(weights), -1).max(axis=1).astype(np.float64)
    if amax.any():
        amax[amax == 0.0] = amax[amax > 0.0].min()
    return amax / codec.largest


def rounded_up(wanted: npt.NDArray[np.float64], type_: type[np.floating]) -> Floats:
    """The smallest numbers of `type_` that are at least the wanted ones and at least SMALLEST."""
    rounded = np.maximum(wanted, SMALLEST).astype(type_)
    above: Floats = np.where(rounded < wanted, np.nextafter(rounded, type_(np.inf)), rounded)
    return above


def _dequantize_stored(
    graph: ir.Graph, conv: ir.Node, name: str, codes: npt.NDArray[np.generic], scaling: Scale
) -> ir.Value:
    stored = add_constant(graph, f"{name}.q", codes)
    scale, zero_point = _add_scale(graph, name, scaling)
    attributes = {} if scaling.axis is None else {"axis": scaling.axis}
    node = ir.node(DEQUANTIZE, [stored, scale, zero_point], attributes, name=f"{name}.dq")
    graph.insert_before(conv, node)
    return output_of(node, scale.type, stored.shape)


def _add_scale(graph: ir.Graph, name: str, scaling: Scale) -> tuple[ir.Value, ir.Value]:
    scale = add_constant(graph, f"{name}.scale", scaling.scale)
    return scale, add_constant(graph, f"{name}.zero_point", scaling.zero_point)


def without_unused(model: ir.Model) -> ir.Model:
    """Removes initializers that no node reads, in place, and returns the model."""
    for name, value in list(model.graph.initializers.items()):
        if not value.uses():
            del model.graph.initializers[name]
    return model
