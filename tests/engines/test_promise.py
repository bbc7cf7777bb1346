"""The precision that a graph asks for: which of its layers multiply, how often, and in which arithmetic."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from wrn_deploy.engines.layers import Arithmetic
from wrn_deploy.engines.promise import ExpectedPrecision, expected_precisions, shares_of

CONV1_MACS = 16 * 3 * 3 * 3 * 32 * 32  # weights x positions of the output


def expected(file: Path) -> dict[str, ExpectedPrecision]:
    return {node.name: node for node in expected_precisions(ir.load(file))}


@pytest.mark.parametrize(
    ("graph", "conv", "classifier"),
    [
        ("fp32.onnx", "fp32", "fp32"),
        ("fp16.onnx", "fp16", "fp16"),
        ("int8-tensorrt.onnx", "int8", "fp16"),
        ("int8-onnxruntime.onnx", "int8", "fp32"),
    ],
)
def test_each_graph_of_a_bundle(made_bundle: Path, graph: str, conv: str, classifier: str) -> None:
    layers = expected(made_bundle / graph)
    assert layers["block2.0.conv2"].arithmetic == conv
    assert layers["fc"].arithmetic == classifier
    assert layers["fc"].macs == layers["fc"].weights == 64 * 10
    assert layers["block2.0.conv2"].weights == 32 * 32 * 9
    assert layers["block2.0.conv2"].macs == 32 * 32 * 9 * 16 * 16


def test_macs_are_those_of_the_network(made_bundle: Path) -> None:
    layers = expected(made_bundle / "fp32.onnx")
    assert layers["conv1"].macs == CONV1_MACS
    assert sum(layer.macs or 0 for layer in layers.values()) == pytest.approx(10.8e6, rel=0.5)
    assert shares_of((layer.arithmetic, layer.macs) for layer in layers.values()) == {"fp32": 1.0}


def test_the_q_and_dq_that_feed_a_layer_are_named(made_bundle: Path) -> None:
    names = expected(made_bundle / "int8-tensorrt.onnx")["block1.0.conv2"].around
    assert set(names) == {
        "block1.0.conv1.relu.shifted.q", "block1.0.conv1.relu.shifted.dq", "block1.0.conv2.weight.dq",
    }  # fmt: skip


def test_without_its_data_quantized_a_conv_is_a_float_conv(made_bundle: Path) -> None:
    model = ir.load(made_bundle / "int8-tensorrt.onnx")
    conv = model.graph.node("block1.0.conv2")
    conv.replace_input_with(0, model.graph.node("block1.0.conv1").outputs[0])
    layers = {node.name: node for node in expected_precisions(model)}
    assert layers["block1.0.conv2"].arithmetic is Arithmetic.FP16
    assert layers["block1.0.conv1"].arithmetic is Arithmetic.INT8


def _one_layer(
    node: onnx.NodeProto, weights: list[int], output: list[int | str] | None, **more: int
) -> ExpectedPrecision:
    kind = more.get("kind", TensorProto.FLOAT)
    images = helper.make_tensor_value_info("x", kind, ["n", 8, 4, 4])
    result = helper.make_tensor_value_info("y", kind, output)
    count = 1
    for size in weights:
        count *= size
    tensor = helper.make_tensor("w", kind, weights, b"\0" * count * (2 if kind != TensorProto.FLOAT else 4), raw=True)
    graph = helper.make_graph([node], "graph", [images], [result], [tensor])
    return expected_precisions(ir.from_proto(helper.make_model(graph)))[0]


def test_a_grouped_conv_multiplies_each_weight_once_a_position() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="c", group=8)
    assert _one_layer(conv, [8, 1, 3, 3], ["n", 8, 2, 2]) == ExpectedPrecision(
        name="c", macs=72 * 4, weights=72, arithmetic=Arithmetic.FP32
    )


def test_a_matmul_multiplies_at_each_position_before_the_channels() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    assert _one_layer(node, [4, 5], ["n", 8, 4, 5]).macs == 20 * 8 * 4


def test_the_weights_show_bf16() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c")
    layer = _one_layer(node, [8, 8, 1, 1], ["n", 8, 4, 4], kind=TensorProto.BFLOAT16)
    assert layer.arithmetic is Arithmetic.BF16


def test_a_layer_without_a_name_has_that_of_its_output_and_no_macs_without_shapes() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert _one_layer(node, [8, 8, 1, 1], None) == ExpectedPrecision(
        name="y", macs=None, weights=64, arithmetic=Arithmetic.FP32
    )


def test_there_are_no_shares_of_nothing() -> None:
    assert shares_of([]) == {}
    assert shares_of([(Arithmetic.INT8, None), (Arithmetic.FP16, 3)]) == {}  # one is unknown
    assert shares_of([(Arithmetic.INT8, 3), (Arithmetic.FP16, 1)]) == {"int8": 0.75, "fp16": 0.25}
