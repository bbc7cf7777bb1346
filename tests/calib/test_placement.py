"""Where Q/DQ go: exactly where TensorRT's rules for residual nets and ONNX Runtime's kernels want them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from tests.calib.graphs import op_types
from wrn_deploy.calib.placement import (
    Point,
    calibrated_tensors,
    is_normalized,
    onnxruntime_float_convs,
    onnxruntime_values,
    quantized_tensors,
    range_source,
    skip_points,
    tensorrt_points,
)
from wrn_deploy.graph import value_name


def of(points: list[Point], op_types: set[str], graph: ir.Graph) -> list[Point]:
    kinds = {node.name: node.op_type for node in graph}
    return [point for point in points if kinds[point.node] in op_types]


def test_every_point_of_the_smallest_network(trained_graph: ir.Model) -> None:
    """wrn-10-1: one block a group. Its skips stay in float, since BN reads the sums."""
    wanted = {
        ("images", "conv1", 0),
        ("block1.0.bn1.relu", "block1.0.conv1", 0),
        ("block1.0.conv1.relu", "block1.0.conv2", 0),
        ("block2.0.bn1.relu", "block2.0.conv1", 0),
        ("block2.0.bn1.relu", "block2.0.shortcut", 0),
        ("block2.0.conv1.relu", "block2.0.conv2", 0),
        ("block3.0.bn1.relu", "block3.0.conv1", 0),
        ("block3.0.bn1.relu", "block3.0.shortcut", 0),
        ("block3.0.conv1.relu", "block3.0.conv2", 0),
    }
    points = tensorrt_points(trained_graph.graph)
    assert {(point.tensor, point.node, point.index) for point in points} == wanted
    assert len(points) == len(wanted), "a point appears twice"


def check_points(graph: ir.Graph, kinds: dict[str, int], skips: dict[str, str]) -> None:
    """Every Conv and MaxPool once, on its data input; every sum once, on the given skip; and nothing else."""
    points = tensorrt_points(graph)
    nodes = {node.name: node for node in graph}
    for kind, count in kinds.items():
        assert sum(node.op_type == kind for node in graph) == count
    pointed = of(points, {"Conv", "MaxPool"}, graph)
    assert {(point.tensor, point.node, point.index) for point in pointed} == {
        (node.inputs[0].name if node.inputs[0] else None, node.name, 0)
        for node in graph
        if node.op_type in {"Conv", "MaxPool"}
    }
    assert {point.node: point.tensor for point in skip_points(graph)} == skips
    assert all(value_name(nodes[point.node].inputs[point.index]) == point.tensor for point in skip_points(graph))
    sums = of(points, {"Add"}, graph)
    assert sums == [point for point in skip_points(graph) if not is_normalized(nodes[point.node])]
    assert len(points) == len(pointed) + len(sums)


def test_identity_and_widening_skips_of_a_pre_activation_network(longer_graph: ir.Model) -> None:
    """BN reads every sum: TensorRT's graph quantizes no skip, but ONNX Runtime's does, and both need its range."""
    graph, skips = longer_graph.graph, {}
    for group in (1, 2, 3):
        skips[f"block{group}.0.add"] = f"block{group}.0.shortcut"  # wrn-16-2 widens in the first group too
        skips[f"block{group}.1.add"] = f"block{group}.0.add"
    check_points(graph, {"Conv": 16, "Add": 6}, skips)
    assert all(is_normalized(node) for node in graph if node.op_type == "Add")
    assert not of(tensorrt_points(graph), {"Add"}, graph)
    assert {*skips.values()} <= {*onnxruntime_values(graph)}
    assert {*skips.values()} <= {*calibrated_tensors(graph)}


def test_identity_and_downsampling_skips_of_a_bottleneck_network(bottleneck_graph: ir.Model) -> None:
    skips = {}
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        skips[f"layer{layer}.0.add"] = f"layer{layer}.0.downsample.0"
        for block in range(1, blocks):
            skips[f"layer{layer}.{block}.add"] = f"layer{layer}.{block - 1}.add.relu"
    check_points(bottleneck_graph.graph, {"Conv": 53, "MaxPool": 1, "Add": 16}, skips)
    assert len(of(tensorrt_points(bottleneck_graph.graph), {"Add"}, bottleneck_graph.graph)) == 16, (
        "ReLU reads the sums"
    )


@pytest.mark.parametrize("name", ["trained_graph", "longer_graph", "bottleneck_graph"])
def test_nothing_stands_between_a_conv_and_its_relu_or_sum(name: str, request: pytest.FixtureRequest) -> None:
    """A quantized tensor that a Conv makes is a skip: no other use of it is quantized."""
    graph = request.getfixturevalue(name).graph
    values = {value.name: value for node in graph for value in node.outputs}
    for point in tensorrt_points(graph):
        made_by = op_types([values[point.tensor]] if point.tensor in values else [])
        if made_by == ["Conv"]:
            assert point in of([point], {"Add"}, graph), point
        assert made_by in ([], ["Relu"], ["MaxPool"], ["Conv"], ["Add"]), point


@pytest.mark.parametrize("name", ["trained_graph", "longer_graph", "bottleneck_graph"])
def test_the_pooled_features_and_the_classifier_stay_in_float(name: str, request: pytest.FixtureRequest) -> None:
    graph = request.getfixturevalue(name).graph
    head = [node for node in graph if node.op_type in {"ReduceMean", "Gemm"}]
    assert len(head) == 2
    assert not {node.name for node in head} & {point.node for point in tensorrt_points(graph)}
    near = {value.name for node in head for value in (*node.inputs, *node.outputs) if value is not None}
    assert not near & {*onnxruntime_values(graph)}
    assert not near & {*calibrated_tensors(graph)}


@pytest.mark.parametrize(
    ("name", "kept"), [("trained_graph", ["conv1"]), ("longer_graph", ["conv1"]), ("bottleneck_graph", [])]
)
def test_onnxruntime_gets_every_other_convs_input_and_activated_output(
    name: str, kept: list[str], request: pytest.FixtureRequest
) -> None:
    """The Conv that reads the images stays in float, but not in front of a MaxPool."""
    graph = request.getfixturevalue(name).graph
    values = set(onnxruntime_values(graph))
    assert onnxruntime_float_convs(graph) == kept
    assert ("images" in values) == (not kept)
    for node in graph:
        if node.op_type == "Conv" and node.name not in kept:
            users = [use.node for use in node.outputs[0].uses()]
            relu = users[0].op_type == "Relu" and len(users) == 1
            wanted = users[0].outputs[0].name if relu else node.outputs[0].name
            assert {node.inputs[0].name if node.inputs[0] else None, wanted} <= values
            assert not relu or node.outputs[0].name not in values


@pytest.mark.parametrize(
    ("name", "integer"),
    [
        ("trained_graph", {"block2.0.add"}),  # 32 channels; block1.0.add has 16
        ("longer_graph", {f"block{group}.{block}.add" for group in (1, 2, 3) for block in (0, 1)} - {"block3.1.add"}),
    ],
)
def test_onnxruntime_gets_integer_sums_where_a_wide_norm_and_a_conv_follow(
    name: str, integer: set[str], request: pytest.FixtureRequest
) -> None:
    """The last sum stays in float: its BN is in front of the pooling."""
    graph = request.getfixturevalue(name).graph
    values = set(onnxruntime_values(graph))
    sums = {node.name: node for node in graph if node.op_type == "Add"}
    assert {name for name, node in sums.items() if node.outputs[0].name in values} == integer
    for add in integer:
        assert {value.name for value in sums[add].inputs if value} <= values
    assert values - {"maxpool"} <= {*calibrated_tensors(graph)}


def test_onnxruntime_gets_integer_sums_where_a_conv_follows(bottleneck_graph: ir.Model) -> None:
    graph = bottleneck_graph.graph
    values = set(onnxruntime_values(graph))
    sums = {node.name: node for node in graph if node.op_type == "Add"}
    last = sums.pop("layer4.2.add")
    for add in sums.values():
        assert {value.name for value in add.inputs if value} <= values, add.name
        assert f"{add.name}.relu" in values
        assert add.outputs[0].name not in values, "nothing between a sum and its ReLU"
    assert f"{last.name}.relu" not in values, "the pooled features stay in float"


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (
            "trained_graph",
            {"block2.0.shortcut", "block3.0.shortcut"},
        ),  # conv1 has 16 channels, and the last sum's BN is in front of the pooling
        ("longer_graph", {f"block{group}.0.{part}" for group in (1, 2, 3) for part in ("shortcut", "add")}),
        ("bottleneck_graph", set()),
    ],
)
def test_skips_that_only_onnxruntimes_graph_quantizes(
    name: str, more: set[str], request: pytest.FixtureRequest
) -> None:
    graph = request.getfixturevalue(name).graph
    pointed = {point.tensor for point in tensorrt_points(graph)}
    found = quantized_tensors(graph)
    assert len(found) == len(set(found))
    assert set(found) - pointed == more
    assert pointed <= set(found)
    assert more <= {*onnxruntime_values(graph)}


def test_a_max_pool_takes_the_range_of_its_input(bottleneck_graph: ir.Model) -> None:
    graph = bottleneck_graph.graph
    assert range_source(graph, "maxpool") == "conv1.relu"
    assert range_source(graph, "conv1.relu") == "conv1.relu"
    assert range_source(graph, "images") == "images"
    assert "maxpool" not in calibrated_tensors(graph)
    assert len(calibrated_tensors(graph)) == len({*calibrated_tensors(graph)}) == 69


def test_the_addition_of_a_bias_is_no_residual_sum() -> None:
    """As exporters write a classifier: MatMul, then Add."""
    graph = ir.from_onnx_text(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        head (float[n, 4] images) => (float[n, 2] logits)
        <float[4, 2] weight = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] bias = {1, 2}>
        {
          product = MatMul (images, weight)
          logits = Add (product, bias)
        }
        """
    ).graph
    assert tensorrt_points(graph) == []
    assert onnxruntime_values(graph) == []
