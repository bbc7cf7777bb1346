"""Finds what each int8 Conv of a graph reads, so that its moments can be sampled."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from wrn_deploy.calib.collection.moments import ConvInput, Prepare
from wrn_deploy.calib.placement import range_source
from wrn_deploy.graph import parameter, value_name

__all__ = ["find_conv_inputs"]


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
        if node.op_type != "Conv" or list(dilations) != [1, 1] or groups != 1:
            continue
        tensor = value_name(node.inputs[0])
        _, channels, rows, columns = parameter(node, 1).shape
        top, left, bottom, right = node.attributes.get_ints("pads", [0, 0, 0, 0])
        down, across = node.attributes.get_ints("strides", [1, 1])
        exact = tensor == image and pixels is not None
        found.append(
            ConvInput(
                conv=node.name or "",
                tensor=tensor,
                channels=channels + 1 if exact else channels,
                kernel=(rows, columns),
                pads=(top, left, bottom, right),
                strides=(down, across),
                scale=1.0 if exact else scales[range_source(graph, tensor)],
                prepare=pixels if exact else None,
            )
        )
    return tuple(found)
