"""The full range of int8: which tensors are shifted, and that nothing else changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from tests.calib.graphs import constant, session_of
from tests.calib.quantized import logits, ranges_of, with_biases
from tests.calib.small_net import SMALL, STEP, STREAM, images, small_net, table_of
from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.writing.full_range import is_shifted, use_full_range
from wrn_deploy.graph import parameter, value_name

Images = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def small() -> ir.Model:
    return small_net()


def shifted_names(model: ir.Model) -> set[str]:
    return {
        value_name(value).removesuffix(".shifted")
        for node in model.graph
        for value in node.outputs
        if is_shifted(value) and node.op_type in {"Clip", "MaxPool", "Relu"}
    }


def measured_table(model: ir.Model, digits: Images, folder: Path) -> CalibrationTable:
    found = ranges_of(model, digits, folder)
    tensors = {name: kept.whole.clipped(lambda _histogram, amax: amax) for name, kept in found.items()}
    return dataclasses.replace(table_of(model), tensors=tensors)


def test_the_logits_of_a_bottleneck_network_stay(small: ir.Model) -> None:
    """To the last bits; constant channels, a MaxPool, sums with an identity and with a Conv in their skip."""
    changed, ranges, _ = use_full_range(small, table_of(small), ())
    onnx.checker.check_model(ir.to_proto(changed), full_check=True)
    wanted = logits(small, images(4))
    assert wanted.std() > 0.5
    np.testing.assert_allclose(logits(changed, images(4)), wanted, atol=1e-5)
    assert ranges.keys() == {f"{name}.shifted" for name in SMALL}
    for found in ranges.values():
        assert (found.low, found.high, found.amax) == (-128 * STEP, 127 * STEP, 127 * STEP)


def test_the_logits_of_a_network_of_sixteen_channels_stay(
    trained_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    """The Convs in a pre-activation block are padded, so that the shift takes constant channels."""
    source = with_biases(trained_graph)
    changed, ranges, shifts = use_full_range(source, measured_table(source, digits, tmp_path), ())
    assert ranges.keys() == {"block1.0.conv1.relu.shifted"}
    (shift,) = shifts
    assert (shift.conv, shift.channels) == ("block1.0.conv2", 16)
    assert 4 <= shift.constants <= 16
    wanted = logits(source, digits)
    np.testing.assert_allclose(logits(changed, digits), wanted, atol=1e-4 * np.abs(wanted).max())
    weights = {name: constant(changed.graph.initializers[f"block1.0.{name}.weight"]) for name in ("conv1", "conv2")}
    assert [array.shape for array in weights.values()] == [
        (16 + shift.constants, 16, 3, 3),
        (16, 16 + shift.constants, 3, 3),
    ]
    assert not weights["conv1"][16:].any()


def test_shifted_values_are_the_relus_output_less_128_steps(small: ir.Model) -> None:
    """Of every channel but the constant ones, whose value is 64 steps."""
    changed, _, shifts = use_full_range(small, table_of(small), ())
    before, after = small.clone(), changed.clone()
    for model in (before, after):
        model.graph.outputs.extend(
            value for node in model.graph for value in node.outputs[:1] if node.op_type != "Gemm"
        )
    names = {value_name(value) for value in before.graph.outputs}
    values = dict(zip(sorted(names), session_of(before).run(sorted(names), {"images": images(2)}), strict=True))
    for name in SMALL:
        (found,) = session_of(after).run([f"{name}.shifted"], {"images": images(2)})
        wanted = values[name]
        np.testing.assert_allclose(found[:, : wanted.shape[1]], wanted - 128 * STEP, atol=1e-5)
        assert np.all(found[:, wanted.shape[1] :] == 64 * STEP)
    constants = {shift.conv: shift.constants for shift in shifts}
    assert constants.pop("layer1.0.conv2") in {4, 8}
    assert set(constants.values()) == {0}


def test_which_tensors_of_a_large_network_are_shifted(bottleneck_graph: ir.Model) -> None:
    """Not what a padded Conv reads whose channels fill TensorRT's vectors, nor what the pooling in front of fc does."""
    changed, ranges, shifts = use_full_range(with_biases(bottleneck_graph), table_of(bottleneck_graph), ())
    blocks = [(layer, block) for layer, count in enumerate((3, 4, 6, 3), 1) for block in range(count)]
    wanted = {f"layer{layer}.{block}.conv2.relu" for layer, block in blocks}
    wanted |= {f"layer{layer}.{block}.add.relu" for layer, block in blocks} - {"layer4.2.add.relu"}
    assert {name.removesuffix(".shifted") for name in ranges} == wanted | {"conv1.relu", "maxpool"}
    assert shifted_names(changed) == wanted | {"conv1.relu", "maxpool"}
    assert not any(shift.constants for shift in shifts)
    pointwise = {
        node.name for node in changed.graph if node.op_type == "Conv" and not any(node.attributes.get_ints("pads", [0]))
    }
    assert {shift.conv for shift in shifts} == pointwise


def test_of_a_pre_activation_network_of_wide_groups_the_first_tensor_is_shifted(longer_graph: ir.Model) -> None:
    """Its other padded Convs read 32, 64 and 128 channels, or what BN writes."""
    source = with_biases(longer_graph)
    changed, ranges, shifts = use_full_range(source, table_of(source), ())
    assert {*ranges} == {"conv1.relu.shifted"}
    assert {(shift.conv, shift.constants > 0) for shift in shifts} == {
        ("block1.0.conv1", True),
        ("block1.0.shortcut", False),
    }
    kinds = [node.op_type for node in source.graph]
    kinds[kinds.index("Relu")] = "Clip"
    assert [node.op_type for node in changed.graph] == kinds


@pytest.mark.parametrize("kept", [{"layer1.0.add.relu"}, {*STREAM, "layer1.2.add.relu"}, {"conv1.relu"}])
def test_feature_maps_are_kept(small: ir.Model, kept: set[str]) -> None:
    changed, _, _ = use_full_range(small, table_of(small), kept)
    assert shifted_names(changed) == SMALL - kept - ({"maxpool"} if "conv1.relu" in kept else set())
    np.testing.assert_allclose(logits(changed, images(2)), logits(small, images(2)), atol=1e-5)


def drop_bias(model: ir.Model) -> None:
    """The sum's Conv has another reader, so that it cannot take the shift for the sum alone."""
    nodes = {node.name: node for node in model.graph}
    extra = ir.node("Add", [nodes["layer1.1.conv3"].outputs[0], nodes["layer1.1.add"].outputs[0]], name="extra")
    extra.outputs[0].name, extra.outputs[0].type = "extra", nodes["layer1.1.add"].outputs[0].type
    extra.outputs[0].shape = nodes["layer1.1.add"].outputs[0].shape
    model.graph.insert_after(nodes["layer1.1.add"], extra)
    nodes["layer1.1.add.relu"].replace_input_with(0, extra.outputs[0])


def test_a_sum_without_a_conv_of_its_own_keeps_its_skip(small: ir.Model) -> None:
    model = small.clone()
    drop_bias(model)
    changed, _, _ = use_full_range(model, table_of(model), ())
    assert shifted_names(changed) == SMALL - set(STREAM)
    np.testing.assert_allclose(logits(changed, images(2)), logits(model, images(2)), atol=1e-5)


def test_the_order_of_a_sum_does_not_matter(small: ir.Model) -> None:
    """The Conv in the skip is quantized with its own scale, so that the other one takes the shift."""
    model = small.clone()
    (add,) = [node for node in model.graph if node.name == "layer1.0.add"]
    first, second = add.inputs
    add.replace_input_with(0, second)
    add.replace_input_with(1, first)
    changed, _, _ = use_full_range(model, table_of(model), ())
    assert shifted_names(changed) == SMALL
    biases = [
        {node.name: parameter(node, 2) for node in each.graph if node.op_type == "Conv"} for each in (small, changed)
    ]
    moved = biases[1]["layer1.0.conv3"] - biases[0]["layer1.0.conv3"]
    np.testing.assert_array_equal(
        biases[1]["layer1.0.downsample.0"],
        biases[0]["layer1.0.downsample.0"] + 128 * STEP * weight_sums(small, "layer1.0.downsample.0"),
    )
    np.testing.assert_array_equal(moved, 128 * STEP * (weight_sums(small, "layer1.0.conv3") - 1.0))


def weight_sums(model: ir.Model, conv: str) -> npt.NDArray[np.float64]:
    """Over all that a Conv reads, (O,)."""
    sums: npt.NDArray[np.float64] = constant(model.graph.initializers[f"{conv}.weight"]).sum(
        axis=(1, 2, 3), dtype=np.float64
    )
    return sums


def test_another_reader_keeps_the_tensor(small: ir.Model) -> None:
    """Only Convs, MaxPools and sums take a shift up."""
    model = small.clone()
    relu = next(node for node in model.graph if node.name == "layer1.1.conv2.relu")
    other = ir.node("Sigmoid", [relu.outputs[0]], name="other")
    other.outputs[0].name = "other"
    model.graph.insert_after(relu, other)
    changed, _, _ = use_full_range(model, table_of(model), ())
    assert shifted_names(changed) == SMALL - {"layer1.1.conv2.relu"}


def test_the_original_is_left_as_it_was(small: ir.Model) -> None:
    before = ir.to_proto(small).SerializeToString(deterministic=True)
    use_full_range(small, table_of(small), ())
    assert ir.to_proto(small).SerializeToString(deterministic=True) == before
