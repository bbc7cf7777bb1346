"""Graphs of other exporters become graphs like ours, with the same answers; what cannot be taken is named."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tests.export.foreign.graphs import Keras, Net, export_torch, save_graph
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.export.foreign.convert import Converted, convert_foreign
from wrn_deploy.pipeline.read_graph import read_graph

IMAGES = np.random.default_rng(1).normal(size=(5, 3, 32, 32)).astype(np.float32)


def convert(file: Path, crop: int | None = None) -> Converted:
    return convert_foreign(read_graph(file), crop)


def answers(converted: Converted, file: Path) -> Any:
    """What the new graph computes for all images at once: logits, or probabilities if the old one gives these."""
    ir.save(converted.model, file)
    onnx.checker.check_model(str(file), full_check=True)
    logits = ort.InferenceSession(str(file)).run(None, {"images": IMAGES})[0]
    if not converted.probabilities:
        return logits
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def original(converted: Converted, file: Path) -> Any:
    """What the old graph computes for the images, one by one."""
    session = ort.InferenceSession(str(file))
    images = IMAGES.transpose(0, 2, 3, 1) if converted.last else IMAGES
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def kinds(converted: Converted) -> Counter[str]:
    return Counter(node.op_type for node in converted.model.graph)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("dynamic", [True, False], ids=["any-batch", "batch-1"])
def test_both_exporters_of_torch(tmp_path: Path, dynamo: bool, dynamic: bool) -> None:
    file = export_torch(Net(), tmp_path / "net.onnx", dynamo=dynamo, dynamic=dynamic)
    found = convert(file)
    assert (found.size, found.classes, found.last, found.probabilities) == ((32, 32), 10, False, "")
    assert found.batch == (None if dynamic else 1)
    np.testing.assert_allclose(answers(found, tmp_path / "made.onnx"), original(found, file), rtol=1e-4, atol=1e-5)
    names = {node.name for node in found.model.graph if node.op_type in ("Conv", "Gemm")}
    assert {"body.0.conv1", "body.1.conv2", "body.1.down", "gate", "fc"} <= names
    assert {f"{name}.{part}" for name in names for part in ("weight", "bias")} <= set(found.model.graph.initializers)
    assert "BatchNormalization" not in kinds(found)


@pytest.mark.parametrize("batch", ["n", 1])
def test_the_layout_of_tf2onnx(tmp_path: Path, batch: int | str) -> None:
    file = Keras().classifier(tmp_path / "keras.onnx", batch=batch)
    found = convert(file)
    assert (found.size, found.classes, found.last, found.probabilities) == ((32, 32), 7, True, "Softmax")
    np.testing.assert_allclose(answers(found, tmp_path / "made.onnx"), original(found, file), rtol=1e-4, atol=1e-6)
    assert kinds(found) == {
        "Conv": 3, "Relu": 2, "MaxPool": 1, "Add": 1, "Concat": 1, "Mul": 1, "GlobalAveragePool": 1, "Flatten": 1,
        "Gemm": 1,
    }  # fmt: skip
    first = next(node for node in found.model.graph if node.op_type == "Conv")
    assert list(first.attributes["pads"].as_ints()) == [2, 2, 2, 2], "zeros around the image are the Conv's own"


def test_channels_last_before_a_dense_layer_keep_their_order(tmp_path: Path) -> None:
    keras = Keras()
    value = keras.first("Conv", "image", keras.weights(4, 3, 4, 4), strides=[8, 8])
    value = keras.node("Reshape", [value, keras.constant(np.array([-1, 64], dtype=np.int64))])
    value = keras.node("MatMul", [value, keras.constant(np.random.default_rng(2).normal(size=(64, 3)).astype("f4"))])
    file = save_graph(
        tmp_path / "flat.onnx", keras.nodes, [("image", ("n", 32, 32, 3))], [(value, ("n", 3))], keras.constants
    )
    found = convert(file)
    np.testing.assert_allclose(answers(found, tmp_path / "made.onnx"), original(found, file), rtol=1e-4, atol=1e-5)


def test_a_norm_before_a_conv_stays_and_old_attributes_become_inputs(tmp_path: Path) -> None:
    keras = Keras()
    norm = [keras.numbers(3, *limits) for limits in ((0.5, 1.5), (-1, 1), (-1, 1), (0.5, 2))]
    value = keras.node("BatchNormalization", ["image", *norm])
    value = keras.node("Clip", [value], min=0.0, max=3.0)
    value = keras.node("Conv", [value, keras.weights(6, 3, 3, 3)], auto_pad="SAME_LOWER", strides=[2, 2])
    value = keras.node("AveragePool", [value], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    value = keras.node("Sigmoid", [value])
    value = keras.node("Dropout", [value], ratio=0.5)
    value = keras.node("ReduceMean", [value], axes=[2, 3], keepdims=0)
    value = keras.node("Gemm", [value, keras.weights(4, 6), keras.numbers(4, -1, 1)], transB=1, alpha=0.5, beta=2.0)
    file = save_graph(
        tmp_path / "old.onnx", keras.nodes, [("image", (1, 3, 32, 32))], [(value, (1, 4))], keras.constants, opset=10
    )
    found = convert(file)
    assert kinds(found)["BatchNormalization"] == 1
    np.testing.assert_allclose(answers(found, tmp_path / "made.onnx"), original(found, file), rtol=1e-4, atol=1e-5)


def test_an_open_size_needs_a_crop(tmp_path: Path) -> None:
    keras = Keras()
    value = keras.node("Conv", ["image", keras.weights(4, 3, 3, 3)])
    value = keras.node("Flatten", [keras.node("GlobalAveragePool", [value])])
    shape = ("n", 3, "h", "w")
    file = save_graph(tmp_path / "open.onnx", keras.nodes, [("image", shape)], [(value, ("n", 4))], keras.constants)
    with pytest.raises(UsageError, match="of any size: expected --crop N"):
        convert(file)
    found = convert(file, 32)
    assert found.size == (32, 32)
    np.testing.assert_allclose(answers(found, tmp_path / "made.onnx"), original(found, file), rtol=1e-4, atol=1e-5)


def test_a_crop_that_contradicts_the_graph_is_refused(tmp_path: Path) -> None:
    file = Keras().classifier(tmp_path / "keras.onnx")
    with pytest.raises(
        UsageError, match=r"--crop 64 for the input image .*\[n,32,32,3\].*: expected the graph's own size"
    ):
        convert(file, 64)


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=op_type.lower(), **attributes)


WEIGHTS = {"w": np.ones((4, 3, 3, 3), np.float32), "m": np.ones((4, 3), np.float32)}
HEAD = [node("GlobalAveragePool", "b", "c"), node("Flatten", "c", "d"), node("MatMul", "d m", "y")]
CONV = node("Conv", "x w", "a")
Case = tuple[list[onnx.NodeProto], dict[str, Any], str]
REFUSED: list[Case] = [
    ([CONV, node("Resize", "a", "b"), *HEAD], {}, "the operator Resize: expected a convolutional classifier of Add, "),
    ([CONV, node("Softplus", "a", "e"), node("Softplus", "e", "b"), *HEAD], {}, r"the operator Softplus \(2\)"),
    ([CONV, node("Fancy", "a", "b", domain="their.own"), *HEAD], {}, r"the operator their\.own\.Fancy"),
    ([CONV, node("NonMaxSuppression", "a a", "b"), node("TopK", "b k", "c y")], {}, "NonMaxSuppression, TopK"),
    ([CONV, node("QuantizeLinear", "a s", "b"), *HEAD], {}, "it is already quantized; expected the float graph"),
    ([CONV, node("Slice", "a i i", "b"), *HEAD], {"i": np.zeros(4, np.int64)}, r"the operator Slice \('b'\)"),
    ([CONV, node("Softmax", "a", "b"), *HEAD], {}, r"the operator Softmax \('b'\) computes on images"),
    ([CONV, node("ReduceMean", "a", "b", axes=[1]), *HEAD], {}, r"ReduceMean 'reducemean' is over the axes \[1\]"),
    ([CONV, node("Relu", "a", "y")], {}, r"the output 'y' has the shape \[4, 30, 30\]"),
    ([*HEAD[:2], node("MatMul", "d m", "y")], {"b": np.ones((1, 3, 2, 2), np.float32)}, "operator GlobalAveragePool"),
    ([CONV, node("Relu", "a", "b"), *HEAD[:2], node("MatMul", "d m", "e"), node("Sigmoid", "e", "y")], {}, "a Sigmoid"),
    ([node("Conv", "x a", "b"), *HEAD], {"a": np.ones((4, 3, 3), np.float32)}, r"has weights of shape \(4, 3, 3\)"),
    ([CONV, node("Reshape", "a r", "b"), *HEAD], {"r": np.array([0, 2, 2, 30, 30])}, "Reshape 'reshape' makes"),
    ([CONV, node("Transpose", "a", "b", perm=[0, 1, 3, 2]), *HEAD], {}, r"Transpose 'transpose' has the order"),
    ([CONV, node("Pad", "a p", "b", mode="reflect"), *HEAD], {"p": np.array([0, 0, 1, 1] * 2)}, "Pad 'pad' pads"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants", "words"), REFUSED, ids=[case[2][:30] for case in REFUSED])
def test_what_cannot_be_taken_is_named(
    tmp_path: Path, nodes: list[onnx.NodeProto], constants: dict[str, Any], words: str
) -> None:
    known = {**WEIGHTS, "s": np.float32(0.1), "k": np.array([1]), **constants}
    inputs = [("x", ("n", 3, 32, 32))]
    file = save_graph(tmp_path / "x.onnx", nodes, inputs, [("y", ("n", "c"))], known, domains=["their.own"], opset=17)
    with pytest.raises(DeployError) as caught:
        convert(file)
    assert re.search(words, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "more", "words"),
    [
        ([("x", ("n", 3, 32, 32)), ("z", ("n", 4))], {}, r"2 inputs \(x .*, z .*\): expected one, the image"),
        ([("x", ("n", 1, 32, 32))], {}, r"expected float32 RGB images"),
        ([("x", ("n", 3, 32))], {}, r"expected float32 RGB images"),
        ([("x", ("n", 3, 32, 32))], {"input_type": TensorProto.UINT8}, r"x UINT8.*expected float32 RGB images"),
        ([("x", ("n", 3, 32, 32))], {"opset": 8}, "opset 8: expected 9 or later"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, inputs: Any, more: dict[str, Any], words: str) -> None:
    nodes = [CONV, node("Relu", "a", "b"), *HEAD]
    file = save_graph(tmp_path / "x.onnx", nodes, inputs, [("y", ("n", "c"))], WEIGHTS, **more)
    with pytest.raises(DeployError) as caught:
        convert(file)
    assert re.search(words, str(caught.value)), str(caught.value)


def test_several_outputs_are_refused(tmp_path: Path) -> None:
    nodes = [CONV, node("Relu", "a", "b"), *HEAD]
    outputs = [("y", ("n", "c")), ("b", ("n", 4, 30, 30))]
    file = save_graph(tmp_path / "x.onnx", nodes, [("x", ("n", 3, 32, 32))], outputs, WEIGHTS)
    with pytest.raises(DeployError, match=r"2 outputs \(y .*, b .*\): expected one, the logits"):
        convert(file)
