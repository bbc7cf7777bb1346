"""Reads an ONNX graph as the layers of a picture: Q/DQ belong to the tensors, activations to the layer before them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wrn_deploy.graph import (
    DEQUANTIZE,
    MULTIPLYING,
    QUANTIZE,
    REARRANGING,
    codes_type,
    input_of,
    is_stored,
    name_of,
    origin,
    shape_of,
    size_of,
    users,
    value_name,
)
from wrn_deploy.rendering.plots.network import Layer, LayerKind, Network, Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["network_of"]

# Nodes that change neither the numbers nor, except for codes, their type: they belong to the tensor.
QDQ = (QUANTIZE, DEQUANTIZE)
PASSED = (*QDQ, "Cast", "Identity")
# Nodes that are drawn in the layer before them, if nothing else reads that layer.
JOINED = {"Relu": "ReLU", "Clip": "clip", "Reshape": "", "Flatten": "", "Squeeze": "", "Dropout": ""}
# Nodes that this project puts in front of a network, by name or its first part, and what they do together.
GROUPS = {
    **{f"interface.{name}": "normalised pixels" for name in ("cast", "transpose", "mul", "images")},
    "whitening": "contrast normalisation, ZCA whitening",
    "pixels": "the pixels' own codes",
}
POOLS = {"MaxPool": "max pool", "AveragePool": "average pool"}


@dataclass(slots=True)
class _Reading:
    """What has been read: the layer that made each value, with its codes, and the layer of each group."""

    expected: dict[str, tuple[int, str]]
    layers: list[Layer] = field(default_factory=list)
    tensors: dict[Tensor, None] = field(default_factory=dict)
    made: dict[ir.Value, tuple[int, str | None]] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)

    def add(self, layer: Layer, node: ir.Node | None = None) -> int:
        """Adds a layer, with tensors to it from whatever the node reads; returns its place."""
        self.layers.append(layer)
        for value in node.inputs if node is not None else ():
            if value is not None and value in self.made:
                source, codes = self.made[value]
                self.tensors[Tensor(source, len(self.layers) - 1, codes)] = None
        return len(self.layers) - 1

    def change(self, place: int, **changes: object) -> None:
        """Replaces fields of a layer."""
        self.layers[place] = dataclasses.replace(self.layers[place], **changes)  # type: ignore[arg-type]


def network_of(model: ir.Model, name: str, precision: str) -> Network:
    """Reads the layers of `model`, in its order; `name` and `precision` stand in the picture."""
    from wrn_deploy.engines.promise import expected_precisions

    expected = {node.name: (node.macs or 0, node.arithmetic.value) for node in expected_precisions(model)}
    reading = _Reading(expected)
    for value in model.graph.inputs:
        if value.name not in model.graph.initializers:
            reading.made[value] = (
                reading.add(Layer(name=value_name(value), kind=LayerKind.INPUT, label="input", shape=_shape(value))),
                None,
            )
    for node in model.graph:
        if node.op_type == "Constant" or not any(value in reading.made for value in node.inputs):
            continue
        place, codes = _place(reading, node)
        for value in node.outputs:
            reading.made[value] = (place, codes)
    for value in model.graph.outputs:
        if value in reading.made:
            place = reading.made[value][0]
            reading.change(place, outputs=(*reading.layers[place].outputs, value_name(value)))
    return Network(name, precision, tuple(reading.layers), tuple(reading.tensors))


def _place(reading: _Reading, node: ir.Node) -> tuple[int, str | None]:
    """Finds or adds the layer that the node belongs to; returns it with the codes of the node's output."""
    source = next(value for value in node.inputs if value in reading.made)
    assert source is not None
    place, codes = reading.made[source]
    group = GROUPS.get(name_of(node)) or GROUPS.get(name_of(node).partition(".")[0])
    if group is not None and node.op_type not in QDQ:
        return _grouped(reading, node, group), None
    if node.op_type in PASSED:
        if node.op_type == QUANTIZE:
            written = codes_type(node)
            codes = written.name.lower() if written is not None else None
        return place, codes
    before = reading.layers[place]
    follows = len(users(source)) == 1 and before.kind is not LayerKind.INPUT
    if node.op_type in JOINED and follows:
        joined = " · ".join(filter(None, (before.label, JOINED[node.op_type])))
        reading.change(place, label=joined, shape=_shape(node.outputs[0]) or before.shape)
        return place, None
    if node.op_type == "Add" and _count_data(reading, node) == 1 and follows and before.label == "scale":
        constants = _constants(node)
        reading.change(place, label="BN", name=name_of(node), parameters=before.parameters + constants)
        return place, None
    return reading.add(_layer(reading, node), node), None


def _grouped(reading: _Reading, node: ir.Node, group: str) -> int:
    """Adds the node to the one layer of its group, with its costs."""
    place = reading.groups.get(group)
    if place is None:
        layer = Layer(name=name_of(node).partition(".")[0], kind=LayerKind.OTHER, label=group, shape=())
        place = reading.groups[group] = reading.add(layer, node)
    macs, arithmetic = reading.expected.get(name_of(node), (0, None))
    there = reading.layers[place]
    reading.change(
        place,
        shape=_shape(node.outputs[0]) or there.shape,
        parameters=there.parameters + (_constants(node) if macs else 0),
        macs=there.macs + macs,
        arithmetic=arithmetic or there.arithmetic,
    )
    return place


def _layer(reading: _Reading, node: ir.Node) -> Layer:
    name, shape = name_of(node), _shape(node.outputs[0])
    if node.op_type in MULTIPLYING:
        macs, arithmetic = reading.expected.get(name, (0, None))
        kind = LayerKind.CONV if node.op_type == "Conv" else LayerKind.LINEAR
        label = _conv_label(node) if kind is LayerKind.CONV else _linear_label(node)
        return Layer(
            name=name,
            kind=kind,
            label=label,
            shape=shape,
            parameters=_constants(node),
            macs=macs,
            arithmetic=arithmetic,
        )
    kind, label, parameters = _plain(reading, node)
    return Layer(name=name, kind=kind, label=label, shape=shape, parameters=parameters)


def _plain(reading: _Reading, node: ir.Node) -> tuple[LayerKind, str, int]:
    """LayerKind, label and parameters of a layer that is not a product of matrices."""
    data = _count_data(reading, node)
    match node.op_type:
        case "BatchNormalization":
            return LayerKind.NORM, "BN", _constants(node) // 2  # mean and variance are not parameters
        case "Mul" if data == 1:
            return LayerKind.NORM, "scale", _constants(node)
        case "Add" if data > 1:
            return LayerKind.SUM, "+", 0
        case "MaxPool" | "AveragePool":
            kernel = "x".join(map(str, node.attributes.get_ints("kernel_shape", [])))
            return LayerKind.POOL, f"{kernel} {POOLS[node.op_type]}{_stride(node)}", 0
        case "ReduceMean" | "GlobalAveragePool":
            return LayerKind.POOL, "global average pool", 0
    return LayerKind.OTHER, node.op_type, 0


def _conv_label(node: ir.Node) -> str:
    weights = _weight_shape(node)
    group = node.attributes.get_int("group", 1)
    if len(weights) < 2:
        return "Conv"
    kernel = "x".join(map(str, weights[2:]))
    if group > 1 and weights[1] == 1:
        return f"{kernel} Conv, depthwise, {weights[0]}{_stride(node)}"
    groups = f", {group} groups" if group > 1 else ""
    return f"{kernel} Conv, {weights[1] * group} → {weights[0]}{groups}{_stride(node)}"


def _linear_label(node: ir.Node) -> str:
    weights = _weight_shape(node)
    if len(weights) != 2:
        return node.op_type
    outputs, inputs = weights if node.attributes.get_int("transB", 0) else reversed(weights)
    return f"linear, {inputs} → {outputs}"


def _stride(node: ir.Node) -> str:
    largest = max(node.attributes.get_ints("strides", []), default=1)
    return f", stride {largest}" if largest > 1 else ""


def _weight_shape(node: ir.Node) -> tuple[int, ...]:
    value = _stored(input_of(node, 1))
    return () if value is None else _known(shape_of(value))


def _count_data(reading: _Reading, node: ir.Node) -> int:
    return sum(value in reading.made for value in node.inputs)


def _constants(node: ir.Node) -> int:
    """The number of the node's own constants: weights, bias, factors."""
    return sum(size_of(value) or 0 for value in map(_stored, node.inputs) if value is not None)


def _stored(value: ir.Value | None) -> ir.Value | None:
    """The initializer that a value is, or is dequantized or cast from; None if it is computed."""
    source = origin(value, QUANTIZE, DEQUANTIZE, "Cast", *REARRANGING)
    return source if is_stored(source) else None


def _shape(value: ir.Value) -> tuple[int, ...]:
    """Without the batch; empty if a size is unknown."""
    return _known((shape_of(value) or ())[1:])


def _known(sizes: tuple[int | None, ...] | None) -> tuple[int, ...]:
    known = [size for size in sizes or () if size is not None]
    return tuple(known) if len(known) == len(sizes or ()) else ()
