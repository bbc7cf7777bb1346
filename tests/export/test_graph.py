"""The fp32 graph: what is in it, what is not, and that it computes what the network computes at any batch size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from tests.export.conftest import Exported, run_graph
from wrn_deploy.export.graph import OPSET, export_graph
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.pipeline.networks.export import probe_images
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.version import __version__

Export = Callable[[str], Exported]


@pytest.mark.parametrize("batch", [1, 3, 17])
@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-40-1"])
def test_it_computes_what_the_network_computes_at_any_batch_size(exported: Export, name: str, batch: int) -> None:
    made = exported(name)
    images = probe_images(made.spec, 40)[-batch:]
    wanted = made.infer(images)
    assert wanted.std() > 0.05
    np.testing.assert_allclose(run_graph(made.graph, images), wanted, atol=1e-4)


def test_a_trained_network_answers_as_before(reader: Exported) -> None:
    images = probe_images(reader.spec, 200)
    wanted, found = reader.infer(images), run_graph(reader.graph, images)
    assert len(set(wanted.argmax(1))) == 10
    np.testing.assert_array_equal(found.argmax(1), wanted.argmax(1))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(("name", "left"), [("wrn-16-2", 6), ("wrn-40-1", 19)])
def test_every_bn_that_only_follows_a_convolution_is_folded(exported: Export, name: str, left: int) -> None:
    """Left are those behind a residual sum, and with wrn-40-1 the first one: its stem is a skip, too."""
    nodes = Counter(node.op_type for node in exported(name).graph.graph)
    assert nodes["BatchNormalization"] == left
    assert set(nodes) == {"Conv", "BatchNormalization", "Relu", "Add", "ReduceMean", "Gemm"}
    assert nodes["Conv"] == {"wrn-16-2": 16, "wrn-40-1": 39}[name]
    assert nodes["Add"] == {"wrn-16-2": 6, "wrn-40-1": 18}[name]


def test_no_bn_is_left_in_an_imagenet_network(exported: Export) -> None:
    nodes = Counter(node.op_type for node in exported("wrn-50-2").graph.graph)
    assert nodes == {"Conv": 53, "Relu": 49, "Add": 16, "MaxPool": 1, "ReduceMean": 1, "Gemm": 1}
    names = {node.name for node in exported("wrn-50-2").graph.graph}
    assert {"conv1.relu", "maxpool", "layer1.0.downsample.0", "layer1.0.conv3", "layer4.2.add.relu", "fc"} <= names


def test_input_and_output_are_float32_with_a_free_batch(exported: Export) -> None:
    graph = exported("wrn-16-2").graph.graph
    (images,), (logits,) = graph.inputs, graph.outputs
    assert (images.name, str(images.shape), images.dtype) == ("images", "[batch,3,32,32]", ir.DataType.FLOAT)
    assert (logits.name, str(logits.shape), logits.dtype) == ("logits", "[batch,10]", ir.DataType.FLOAT)


def test_names_follow_the_network(exported: Export) -> None:
    made = exported("wrn-16-2")
    names = [node.name for node in made.graph.graph]
    assert len(set(names)) == len(names)
    assert names[:9] == [
        "conv1", "conv1.relu", "block1.0.shortcut", "block1.0.conv1", "block1.0.conv1.relu", "block1.0.conv2",
        "block1.0.add", "block1.1.bn1", "block1.1.bn1.relu",
    ]  # fmt: skip
    assert names[-4:] == ["bn1", "bn1.relu", "avgpool", "fc"]
    of_network = {name for name, _ in made.network.named_modules()}
    for node in made.graph.graph:
        if node.op_type in ("Conv", "BatchNormalization", "Gemm"):
            assert node.name in of_network, "the name of another module, or a number behind it"
        assert node.outputs[0].name == (node.name if node.op_type != "Gemm" else "logits")


def test_each_node_has_the_weights_of_the_module_it_is_called_after(exported: Export) -> None:
    made = exported("wrn-40-1")
    state = made.network.state_dict()
    for node in made.graph.graph:
        if node.op_type == "BatchNormalization":
            for value, part in zip(node.inputs[1:], ("weight", "bias", "running_mean", "running_var"), strict=True):
                assert value is not None
                assert value.const_value is not None
                np.testing.assert_array_equal(value.const_value.numpy(), state[f"{node.name}.{part}"].numpy())


@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-50-2"])
def test_an_untrained_network_whose_tensors_are_alike_is_exported(name: str) -> None:
    """All biases of BN are 0 and become one tensor in the export."""
    torch.manual_seed(0)
    spec = describe_model(name)
    network = build_model(spec).eval()
    graph = export_graph(network, spec)
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    images = np.random.default_rng(0).normal(size=(2, *spec.input.shape)).astype(np.float32)
    found = infer_with(open_session(ir.to_proto(graph).SerializeToString()))(images)
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(torch.from_numpy(images)).numpy(), rtol=1e-3, atol=1e-4)


def test_there_are_no_paths_stack_traces_or_notes_in_the_bytes(exported: Export) -> None:
    made = exported("wrn-16-2")
    proto = ir.to_proto(made.graph)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
    text = str(proto)
    assert "block1.0.conv1" in text
    for word in ("/", "\\\\", ".py", "torch", "stack_trace", "metadata_props", "doc_string", "pkg.", "File "):
        assert word not in text, word
    assert proto.producer_name == "wrn-deploy"
    assert proto.producer_version == __version__


def test_one_operator_set_that_every_tensorrt_knows(exported: Export) -> None:
    proto = ir.to_proto(exported("wrn-16-2").graph)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", OPSET)]
    assert not proto.functions
    assert proto.ir_version <= 10
    onnx.checker.check_model(proto, full_check=True)


def test_two_exports_are_the_same_bytes(exported: Export) -> None:
    made = exported("wrn-16-2")
    again = export_graph(made.network, made.spec)
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(made.graph).SerializeToString()


def test_the_network_is_left_as_it_was(exported: Export) -> None:
    made = exported("wrn-16-2")
    made.network.train()
    before = {key: value.clone() for key, value in made.network.state_dict().items()}
    try:
        graph = export_graph(made.network, made.spec)
        assert all(module.training for module in made.network.modules())
    finally:
        made.network.eval()
    assert all(torch.equal(value, before[key]) for key, value in made.network.state_dict().items())
    assert ir.to_proto(graph).SerializeToString() == ir.to_proto(made.graph).SerializeToString()


def test_the_exporter_is_quiet(
    exported: Export, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    made = exported("wrn-16-2")
    export_graph(made.network, made.spec)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
