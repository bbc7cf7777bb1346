"""Names for graphs that no network here has: nodes without inputs, with several outputs, or alike."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from wrn_deploy.export.graph import tidy


def _model(nodes: list[ir.Node], images: ir.Value, initializers: list[ir.Value] | None = None) -> ir.Model:
    outputs = [nodes[-1].outputs[0]]
    outputs[0].name = "logits"
    graph = ir.Graph([images], outputs, nodes=nodes, initializers=initializers or [], opset_imports={"": 20})
    return ir.Model(graph, ir_version=10)


def _images() -> ir.Value:
    return ir.val("images", ir.DataType.FLOAT, ["batch", 4])


def test_nodes_without_inputs_get_a_name() -> None:
    images = _images()
    constant = ir.node("Constant", [], {"value": ir.Tensor(np.ones(4, dtype=np.float32))})
    model = tidy(_model([constant, ir.node("Mul", [images, constant.outputs[0]])], images))
    assert [node.name for node in model.graph] == ["constant", "images.mul"]


def test_each_output_of_a_node_has_its_own_name() -> None:
    images = _images()
    split = ir.node("Split", [images], {"axis": 1, "num_outputs": 2}, num_outputs=2)
    model = tidy(_model([split, ir.node("Mul", list(split.outputs))], images))
    assert [value.name for value in split.outputs] == ["images.split", "images.split.1"]
    assert model.graph.outputs[0].name == "logits"


def test_equal_names_are_counted() -> None:
    images = _images()
    first = ir.node("Relu", [images])
    second = ir.node("Relu", [images])
    model = tidy(_model([first, second, ir.node("Mul", [first.outputs[0], second.outputs[0]])], images))
    assert [node.name for node in model.graph][:2] == ["images.relu", "images.relu_2"]


def test_notes_are_dropped_wherever_they_stand() -> None:
    images = _images()
    node = ir.node("Relu", [images], doc_string="/home/me/net.py", metadata_props={"stack": "/home/me/net.py"})
    node.outputs[0].metadata_props["from"] = "/home/me/net.py"
    images.doc_string = "/home/me/net.py"
    model = _model([node], images)
    model.graph.doc_string = model.doc_string = model.domain = "/home/me/net.py"
    model.metadata_props["from"] = model.graph.metadata_props["from"] = "/home/me/net.py"
    assert b"/home/me" in ir.to_proto(model).SerializeToString()
    assert b"/home/me" not in ir.to_proto(tidy(model)).SerializeToString()
