"""Equalisation: the logits stay, the channels' ranges become alike, and int8 loses less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from tests.calib.graphs import session_of
from tests.calib.quantized import equalized_graph, error, logits, quantized, ranges_of, with_biases
from wrn_deploy.calib.collection.ranges import Range
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.calib.equalization.channels import channel_classes, own_parameter
from wrn_deploy.calib.equalization.equalize import equalize, equalized_units, find_equalization, original_ranges
from wrn_deploy.graph import parameter

Images = npt.NDArray[np.float32]


def spoiled(model: ir.Model, factor: float) -> ir.Model:
    """Computes the same, but one channel between two Convs of each block is `factor` times as large."""
    model = model.clone()
    nodes = {node.name: node for node in model.graph}
    for name in [name for name in nodes if name and name.endswith(".conv1") and name.startswith("block")]:
        first, second = nodes[name], nodes[name.replace("conv1", "conv2")]
        for node, index, channel, power in (
            (first, 1, (0,), 1),
            (first, 2, (0,), 1),
            (second, 1, (slice(None), 0), -1),
        ):
            values = parameter(node, index)
            values[channel] *= factor**power
            own_parameter(model.graph, node, index, values)
    return model


@pytest.mark.parametrize("name", ["trained_graph", "longer_graph"])
def test_the_logits_stay(name: str, digits: Images, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model: ir.Model = request.getfixturevalue(name)
    equal = equalized_graph(model, digits, tmp_path)
    onnx.checker.check_model(ir.to_proto(equal), full_check=True)
    assert np.allclose(logits(equal, digits), logits(model, digits), rtol=1e-4, atol=1e-4)


def test_the_logits_of_a_bottleneck_network_stay(bottleneck_graph: ir.Model, tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    equalization = find_equalization(bottleneck_graph.graph, ranges_of(bottleneck_graph, images, tmp_path))
    assert {"layer1.0.conv1.relu", "layer1.0.conv2.relu"} <= {
        name for name, class_ in channel_classes(bottleneck_graph.graph).items() if class_ in equalization.factors
    }
    assert set(equalization.shifts) == {f"layer{index}.0.downsample.0" for index in (1, 2, 3, 4)}
    wanted = logits(bottleneck_graph, images)
    got = logits(equalize(bottleneck_graph, equalization), images)
    assert np.abs(got - wanted).max() <= 1e-3 * np.abs(wanted).max()


def test_channels_become_alike(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    model = spoiled(trained_graph, 50.0)
    before = ranges_of(model, digits, tmp_path)
    after = ranges_of(equalized_graph(model, digits, tmp_path), digits, tmp_path)
    for name in (name for name in before if name.endswith(".conv1.relu")):
        ratios = [
            float(found.whole.channels.max() / np.median(found.whole.channels)) for found in (before[name], after[name])
        ]
        assert ratios[0] > 15
        assert ratios[1] < 8


def test_int8_survives_what_it_did_not(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    model = spoiled(trained_graph, 200.0)
    equal = equalized_graph(model, digits, tmp_path)
    _, bad = quantized(with_biases(model), digits, tmp_path)
    _, good = quantized(equal, digits, tmp_path)
    assert error(good, trained_graph, digits) < 0.05 * error(bad, trained_graph, digits)


def test_the_stream_is_centred(longer_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    after = ranges_of(equalized_graph(longer_graph, digits, tmp_path), digits, tmp_path)
    whole = after["block1.0.add"].whole
    assert np.abs(whole.lows + whole.highs).max() <= 1e-3 * whole.amax


@pytest.mark.parametrize("name", ["trained_graph", "longer_graph"])
def test_units_make_the_values_of_the_equalized_graph(
    name: str, digits: Images, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of every tensor that equalization changes, and of no other: sums, Convs, and what is behind BN and ReLU."""
    model: ir.Model = request.getfixturevalue(name)
    equalization = find_equalization(model.graph, ranges_of(model, digits, tmp_path))
    units = equalized_units(model.graph, equalization)
    before, after = all_values(model, digits[:4]), all_values(equalize(model, equalization), digits[:4])
    kinds = {node.outputs[0].name: node.op_type for node in model.graph}
    assert {kinds[tensor] for tensor in units} == {"Add", "BatchNormalization", "Conv", "Relu"}
    assert before.keys() == after.keys()
    for tensor, values in before.items():
        wanted, tolerance = after[tensor], 1e-4 * np.abs(after[tensor]).max()
        unit = units.get(tensor)
        if unit is not None:
            assert np.abs(values.reshape(wanted.shape) - wanted).max() > 10 * tolerance, f"{tensor} is not changed"
            shape = (1, -1, *(1,) * (values.ndim - 2))
            in_unit = values * unit.factors.reshape(shape) + unit.moves.reshape(shape)
        else:
            in_unit = values
        np.testing.assert_allclose(in_unit, wanted, atol=float(tolerance), rtol=0, err_msg=tensor)


def test_units_of_a_bottleneck_network(bottleneck_graph: ir.Model, tmp_path: Path) -> None:
    """With a MaxPool, sums behind which ReLU comes, and skips with a Conv."""
    images = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    graph = bottleneck_graph.graph
    found = ranges_of(bottleneck_graph, images, tmp_path)
    equalization = find_equalization(graph, found)
    units = equalized_units(graph, equalization)
    assert {"conv1.relu", "maxpool", "layer1.0.downsample.0", "layer2.0.conv2.relu"} <= units.keys()
    measured = ranges_of(equalize(bottleneck_graph, equalization), images, tmp_path)
    check_alike(ranges_of(bottleneck_graph, images, tmp_path, units=units), measured)


def all_values(model: ir.Model, images: Images) -> dict[str, Images]:
    """Every tensor that a node computes, in one session."""
    exposed = model.clone()
    made = [value for node in exposed.graph for value in node.outputs]
    exposed.graph.outputs.extend(value for value in made if value not in exposed.graph.outputs)
    names = [value.name or "" for value in made]
    return dict(zip(names, session_of(exposed).run(names, {"images": images}), strict=True))


def check_alike(found: dict[str, Range], wanted: dict[str, Range]) -> None:
    assert found.keys() == wanted.keys()
    for name, range_ in found.items():
        whole, other = range_.whole, wanted[name].whole
        assert whole.values == other.values
        for own, expected in ((whole.lows, other.lows), (whole.highs, other.highs)):
            np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4 * other.amax, err_msg=name)


def test_ranges_in_these_units_are_those_of_the_equalized_graph(
    longer_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    equalization = find_equalization(longer_graph.graph, ranges_of(longer_graph, digits, tmp_path))
    units = equalized_units(longer_graph.graph, equalization)
    measured = ranges_of(equalize(longer_graph, equalization), digits, tmp_path, histograms=True)
    found = ranges_of(longer_graph, digits, tmp_path, histograms=True, units=units)
    check_alike(found, measured)
    for name, range_ in found.items():
        fractions = [each.whole.fraction_above(0.5 * each.whole.amax) for each in (range_, measured[name])]
        assert fractions[0] == pytest.approx(fractions[1], abs=1e-3)


def test_ranges_of_the_first_graph_follow_from_those_of_the_equal_one(
    longer_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    ranges = ranges_of(longer_graph, digits, tmp_path)
    equalization = find_equalization(longer_graph.graph, ranges)
    equal = equalize(longer_graph, equalization)
    assert equalization.factors
    assert equalization.shifts
    for graph in (longer_graph.graph, equal.graph):
        check_alike(original_ranges(graph, ranges_of(equal, digits, tmp_path), equalization), ranges)


def test_no_equalization_changes_no_unit(longer_graph: ir.Model) -> None:
    assert equalized_units(longer_graph.graph, Equalization()) == {}


def test_nothing_to_do_adds_biases_alone(trained_graph: ir.Model, digits: Images) -> None:
    same = equalize(trained_graph, Equalization())
    assert np.array_equal(logits(same, digits), logits(trained_graph, digits))
    assert all(len(node.inputs) == 3 for node in same.graph if node.op_type == "Conv")


def test_the_first_graph_is_left_as_it_is(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    before = ir.to_proto(trained_graph).SerializeToString(deterministic=True)
    equalized_graph(trained_graph, digits, tmp_path)
    assert ir.to_proto(trained_graph).SerializeToString(deterministic=True) == before


def test_input_and_output_have_no_class(trained_graph: ir.Model) -> None:
    classes = channel_classes(trained_graph.graph)
    assert not {"images", "logits"} & set(classes)
    assert classes["block1.0.conv1"] == classes["block1.0.conv1.relu"]
    assert classes["block1.0.bn1.relu" if "block1.0.bn1.relu" in classes else "conv1.relu"] != classes["block1.0.add"]
