"""What the Convs read: geometry, scales and the pixels' own codes; Convs that cannot be sampled are left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.graphs import session_of
from wrn_deploy.calib.collection.moments import ConvInput, Moments
from wrn_deploy.calib.placement import calibrated_tensors, conv_inputs
from wrn_deploy.calib.rounding.inputs import find_conv_inputs
from wrn_deploy.calib.writing.exact_input import PIXELS, RANGE, pixel_codes, read_pixels
from wrn_deploy.models import describe_model

CIFAR = describe_model("wrn-10-1").preprocessing


def scales_of(graph: ir.Graph) -> dict[str, float]:
    return {name: 0.01 * (1 + index) for index, name in enumerate(calibrated_tensors(graph))}


def by_conv(found: tuple[ConvInput, ...]) -> dict[str, ConvInput]:
    return {each.conv: each for each in found}


def test_every_conv_of_a_pre_activation_network(longer_graph: ir.Model) -> None:
    graph = longer_graph.graph
    scales = scales_of(graph)
    found = by_conv(find_conv_inputs(graph, scales, None))
    assert set(found) == {node.name for node in graph if node.op_type == "Conv"}
    assert len(found) == 16
    assert {each.tensor for each in found.values()} == set(conv_inputs(graph))
    for conv, tensor, channels, kernel, pads, strides in (
        ("conv1", "images", 3, (3, 3), (1, 1, 1, 1), (1, 1)),
        ("block2.0.conv1", "block2.0.bn1.relu", 32, (3, 3), (1, 1, 1, 1), (2, 2)),
        ("block2.0.shortcut", "block2.0.bn1.relu", 32, (1, 1), (0, 0, 0, 0), (2, 2)),
        ("block3.1.conv2", "block3.1.conv1.relu", 128, (3, 3), (1, 1, 1, 1), (1, 1)),
    ):
        assert found[conv] == ConvInput(
            conv=conv, tensor=tensor, channels=channels, kernel=kernel, pads=pads, strides=strides,
            scale=scales[tensor], prepare=None,
        )  # fmt: skip


def test_behind_a_max_pool_the_scale_is_that_of_its_input(bottleneck_graph: ir.Model) -> None:
    graph = bottleneck_graph.graph
    scales = scales_of(graph)
    found = by_conv(find_conv_inputs(graph, scales, None))
    assert len(found) == 53
    assert (found["layer1.0.conv1"].tensor, found["layer1.0.conv1"].scale) == ("maxpool", scales["conv1.relu"])
    assert found["conv1"].pads == (3, 3, 3, 3)


def test_the_pixels_own_codes_are_what_the_first_conv_reads(
    trained_graph: ir.Model, digits: npt.NDArray[np.float32]
) -> None:
    """Each window is that of the graph that `read_pixels` makes, in its unit, with the constant channel."""
    prepare = pixel_codes(CIFAR)
    first, *others = find_conv_inputs(trained_graph.graph, scales_of(trained_graph.graph), prepare)
    assert (first.conv, first.tensor, first.channels, first.scale) == ("conv1", "images", 4, 1.0)
    assert all(each.prepare is None for each in others)
    exact = read_pixels(trained_graph, CIFAR)
    pixels = next(value for node in exact.graph for value in node.outputs if value.name == PIXELS)
    exact.graph.outputs.append(pixels)
    values = session_of(exact).run([PIXELS], {"images": digits[:1]})[0][0] / RANGE.amax * 127.0
    assert values.shape == (4, 32, 32)
    np.testing.assert_allclose(prepare(digits[0]), values, atol=1e-3)
    windows = first.codes(first.windows(digits[0], 10**6, 0.0)).reshape(32, 32, 4, 3, 3)
    wanted = np.rint(values[:, 1:-1, 1:-1]).clip(-127)  # -128 counts as -127
    np.testing.assert_array_equal(windows[1:-1, 1:-1, :, 1, 1], wanted.transpose(1, 2, 0))
    assert set(windows[:, :, 3].ravel().tolist()) == {0, 127}, "127 inside the image, 0 in the padding"
    assert not windows[0, :, :, 0].any()


@pytest.mark.parametrize(("attribute", "channels"), [("dilations", 4), ("group", 2)])
def test_convs_with_groups_or_dilations_are_left_out(attribute: str, channels: int) -> None:
    value = "dilations = [2, 2]" if attribute == "dilations" else "group = 2"
    graph = ir.from_onnx_text(
        f"""
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[n, 4, 8, 8] images) => (float[n, 4, h, w] last)
        <float[4, 4, 1, 1] first_weight, float[4, {channels}, 3, 3] last_weight>
        {{
          middle = Conv (images, first_weight)
          last = Conv <{value}> (middle, last_weight)
        }}
        """
    ).graph
    for node, name in zip(graph, ("first", "last"), strict=True):
        node.name = name
        weights = np.ones((4, 4 if name == "first" else channels, *([1, 1] if name == "first" else [3, 3])), np.float32)
        node.replace_input_with(1, ir.val(f"{name}.weight", const_value=ir.Tensor(weights)))
    (found,) = find_conv_inputs(graph, {"images": 0.5, "middle": 0.5}, None)
    assert (found.conv, found.kernel, found.pads, found.strides, found.scale) == (
        "first", (1, 1), (0, 0, 0, 0), (1, 1), 0.5,
    )  # fmt: skip
    assert Moments((found,), 1).sums["first"].shape == (1, 4, 4)
