"""Shapes of graphs of other tools: what can be inferred is, whatever the domain of their Q/DQ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from tests.calib.lint.handed_on import CODES, Maker, identity, qdq_conv
from wrn_deploy.graph import QUANTIZE, shape_of
from wrn_deploy.pipeline.inspection.diagram import network_of
from wrn_deploy.pipeline.inspection.inspect import inspect_path
from wrn_deploy.pipeline.inspection.views import GraphView
from wrn_deploy.pipeline.read_graph import read_graph
from wrn_deploy.progress import Silent

MACS = CODES.size * 16 * 16


def viewed(model: onnx.ModelProto, folder: Path) -> GraphView:
    onnx.save(model, folder / "graph.onnx")
    view = inspect_path(folder / "graph.onnx", Silent())
    assert isinstance(view, GraphView)
    return view


def test_q_and_dq_of_onnxruntimes_domain_have_shapes_and_keep_their_domain(tmp_path: Path) -> None:
    onnx.save(qdq_conv(domain="com.microsoft"), tmp_path / "graph.onnx")
    model = read_graph(tmp_path / "graph.onnx")
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert shape_of(conv.outputs[0]) == (1, 8, 16, 16)
    assert {node.domain for node in model.graph if node.op_type == QUANTIZE} == {"com.microsoft"}


def test_a_node_that_nothing_is_known_of_does_not_hide_the_shapes_before_it(tmp_path: Path) -> None:
    model = qdq_conv()
    model.graph.node.append(onnx.helper.make_node("Unheard", ["y"], ["z"], domain="of"))
    model.opset_import.append(onnx.helper.make_opsetid("of", 1))
    assert viewed(model, tmp_path).macs == MACS


def test_what_a_graph_promises_does_not_depend_on_how_constants_reach_it(tmp_path: Path) -> None:
    plain = viewed(qdq_conv(), tmp_path)
    assert (plain.macs, plain.fractions, plain.parameters) == (MACS, {"int8": 1.0}, CODES.size)

    def back(make: Maker, value: str) -> str:
        return make.node("Transpose", value, perm=[3, 2, 0, 1])

    for model in (
        qdq_conv(domain="com.microsoft"),
        qdq_conv(codes=lambda make: make.constant(CODES)),
        qdq_conv(weights=identity, scale=lambda make: identity(make, make.constant(np.float32(0.05)))),
        qdq_conv(codes=lambda make: make.store(CODES.transpose(2, 3, 1, 0)), axis=3, weights=back),
        qdq_conv(
            codes=lambda make: make.store(CODES.reshape(8, -1)),
            weights=lambda make, value: make.node("Reshape", value, make.sizes(*CODES.shape)),
        ),
    ):
        view = viewed(model, tmp_path)
        assert (view.macs, view.fractions, view.parameters) == (plain.macs, plain.fractions, plain.parameters)


def test_a_picture_counts_constants_wherever_they_are_stored(tmp_path: Path) -> None:
    onnx.save(qdq_conv(codes=lambda make: make.constant(CODES)), tmp_path / "graph.onnx")
    network = network_of(read_graph(tmp_path / "graph.onnx"), "small", "int8")
    conv = next(layer for layer in network.layers if layer.name == "conv")
    assert (conv.parameters, conv.macs, conv.label) == (CODES.size, MACS, "3x3 Conv, 8 → 8 · ReLU")
