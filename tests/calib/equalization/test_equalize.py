"""Equalisation: the logits stay, the channels' ranges become alike, and int8 loses less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from tests.calib.quantized import equalized_graph, error, logits, quantized, ranges_of, with_biases
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.calib.equalization.channels import channel_classes, own_parameter
from wrn_deploy.calib.equalization.equalize import equalize, equalized_ranges, find_equalization, original_ranges
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


def test_ranges_of_the_equal_graph_follow_from_those_of_the_first(
    longer_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    ranges = ranges_of(longer_graph, digits, tmp_path)
    equalization = find_equalization(longer_graph.graph, ranges)
    measured = ranges_of(equalize(longer_graph, equalization), digits, tmp_path)
    for name, found in equalized_ranges(longer_graph.graph, ranges, equalization).items():
        wanted = measured[name].whole
        assert found.whole.channels == pytest.approx(wanted.channels, rel=1e-3, abs=1e-3 * wanted.amax)
        assert found.whole.values == wanted.values


def test_ranges_of_the_first_graph_follow_from_those_of_the_equal_one(
    longer_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    ranges = ranges_of(longer_graph, digits, tmp_path)
    equalization = find_equalization(longer_graph.graph, ranges)
    equal = equalized_ranges(longer_graph.graph, ranges, equalization)
    assert equalization.factors
    assert equalization.shifts
    for name, found in original_ranges(longer_graph.graph, equal, equalization).items():
        wanted = ranges[name].whole
        assert found.whole.lows == pytest.approx(wanted.lows, rel=1e-4, abs=1e-4 * wanted.amax)
        assert found.whole.highs == pytest.approx(wanted.highs, rel=1e-4, abs=1e-4 * wanted.amax)


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
