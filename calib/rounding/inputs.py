"""Finds what each int8 Conv of a graph reads, so that its moments can be sampled."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from wrn_deploy.calib.collection.moments import ConvInput, Prepare
from wrn_deploy.calib.placement import range_source
from wrn_deploy.graph import parameter, value_name

__all__ = ["conv_input", "find_conv_inputs"]


def find_conv_inputs(graph: ir.Graph, scales: Mapping[str, float], pixels: Prepare | None) -> tuple[ConvInput, ...]:
    """The inputs of the Convs of an fp32 graph; those with groups or dilations are left out.

    Args:
        graph: the fp32 graph, equalized or not.
        scales: the value of one of the codes -127..127, by tensor.
        pixels: makes the pixels' own codes of normalised images, for the Convs that read them; None: these read the
            images.
    """
    image, found = value_name(graph.inputs[0]), []
    for node in graph:
        dilations, groups = node.attributes.get_ints("dilations", [1, 1]), node.attributes.get_int("group", 1)
        if node.op_type == "Conv" and list(dilations) == [1, 1] and groups == 1:
            tensor = value_name(node.inputs[0])
            exact = tensor == image and pixels is not None
            scale = 1.0 if exact else scales[range_source(graph, tensor)]
            found.append(conv_input(node, scale, pixels if exact else None))
    return tuple(found)


def conv_input(conv: ir.Node, scale: float, pixels: Prepare | None = None) -> ConvInput:
    """The input of one Conv; with `pixels` it has one channel more than the Conv's weights."""
    _, channels, rows, columns = parameter(conv, 1).shape
    top, left, bottom, right = conv.attributes.get_ints("pads", [0, 0, 0, 0])
    down, across = conv.attributes.get_ints("strides", [1, 1])
    return ConvInput(
        conv=conv.name or "",
        tensor=value_name(conv.inputs[0]),
        channels=channels if pixels is None else channels + 1,
        kernel=(rows, columns),
        pads=(top, left, bottom, right),
        strides=(down, across),
        scale=scale,
        prepare=pixels,
    )
