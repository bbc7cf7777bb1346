"""Finds the codes, scales, biases and floats among a Q/DQ graph's initializers; graph structure only, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from wrn_deploy.calib.placement import conv_depths
from wrn_deploy.calib.writing.exact_input import PIXELS
from wrn_deploy.calib.writing.full_range import SHIFTED
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, array_of, input_of, producer, users, value_name

__all__ = ["BiasNames", "codes_of", "floats_of", "integer_biases_of", "scales_of", "tied_scales"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasNames:
    """The initializers of an int32 bias: its codes and scale, and the two scales whose product this is."""

    codes: str
    scale: str
    input_scale: str
    weight_scale: str


def codes_of(graph: ir.Graph) -> Iterator[str]:
    """The int8 weights of Convs."""
    for node in graph:
        if node.op_type == "Conv" and (stored := producer(input_of(node, 1), DEQUANTIZE)) is not None:
            yield value_name(stored.inputs[0])


def scales_of(graph: ir.Graph, *, everything: bool) -> Iterator[str]:
    """The scales of activations and weights; without `everything`, only those that stand for the factors of a BN."""
    for node in graph:
        if node.op_type == QUANTIZE and everything and not _is_exact(node):
            yield value_name(node.inputs[1])
        stored = producer(input_of(node, 1), DEQUANTIZE) if node.op_type == "Conv" else None
        if stored is not None and (everything or array_of(stored.inputs[0])[0].size == 1):
            yield value_name(stored.inputs[1])


def _is_exact(quantizer: ir.Node) -> bool:
    """Whether other numbers in the graph hold for one scale alone: that of the pixels, or of a shifted tensor."""
    return value_name(quantizer.inputs[0]) == PIXELS or value_name(quantizer.inputs[1]).endswith(f"{SHIFTED}.scale")


def floats_of(graph: ir.Graph) -> Iterator[str]:
    """Floats that are trained: those of Convs, of BN in either form, and of the classifier.

    Nodes before the first Conv prepare the images, as whitening and the exact input do, and are fixed.
    """
    places = {"Conv": (1, 2), "Gemm": (1, 2), "BatchNormalization": (1, 2), "Mul": (0, 1), "Add": (0, 1)}
    depths = conv_depths(graph)
    for node in graph:
        if not depths[node.outputs[0]]:
            continue
        for index in places.get(node.op_type, ()):
            value = input_of(node, index)
            if value is not None and value.const_value is not None:
                assert value.const_value.dtype.is_floating_point(), f"{value.name} is not a float"
                yield value_name(value)


def integer_biases_of(graph: ir.Graph) -> Iterator[BiasNames]:
    """The biases of Convs that are stored as int32 with a DQ."""
    for node in graph:
        values, weights, bias = (producer(input_of(node, index), DEQUANTIZE) for index in range(3))
        if node.op_type == "Conv" and bias is not None:
            yield BiasNames(
                codes=value_name(input_of(bias, 0)),
                scale=value_name(input_of(bias, 1)),
                input_scale=value_name(input_of(values, 1)),
                weight_scale=value_name(input_of(weights, 1)),
            )


def tied_scales(graph: ir.Graph) -> dict[str, tuple[str, ...]]:
    """For the scales of a MaxPool's input and output, the names of all those that must stay equal."""
    tied: dict[str, tuple[str, ...]] = {}
    for node in graph:
        before = producer(input_of(node, 0), DEQUANTIZE) if node.op_type == "MaxPool" else None
        if before is None:
            continue
        behind = [user for user in users(node.outputs[0]) if user.op_type == QUANTIZE]
        names = [value_name(quantizer.inputs[1]) for quantizer in (before, *behind)]
        together = tuple(dict.fromkeys(name for tie in names for name in (*tied.get(tie, ()), tie)))
        tied.update(dict.fromkeys(together, together))
    return tied
