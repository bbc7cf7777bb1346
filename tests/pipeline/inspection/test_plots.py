"""Graphs read as pictures: Q/DQ go to the tensors, BN of half graphs is found again, costs are those of the graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import describe_model
from wrn_deploy.models.cost import count_cost
from wrn_deploy.pipeline.inspection.inspect import inspect_path
from wrn_deploy.pipeline.inspection.plots import PlotOptions, plot_model
from wrn_deploy.pipeline.inspection.views import GraphView
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.plots.network import LayerKind, Network, segments_of
from wrn_deploy.spec import Precision


def _plot(what: Path, out: Path, precision: Precision | None = None) -> Network:
    return plot_model(PlotOptions(target=str(what), out=out, precision=precision), Silent())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "model.svg"


def test_a_network_has_its_layers_blocks_and_costs(made_bundle: Path, out: Path) -> None:
    network = _plot(made_bundle, out)
    assert network.macs == count_cost(describe_model("wrn-10-1")).macs
    assert out.read_text(encoding="utf-8").startswith("<svg")
    kinds = [layer.kind for layer in network.layers]
    assert (kinds.count(LayerKind.CONV), kinds.count(LayerKind.SUM), kinds.count(LayerKind.NORM)) == (9, 3, 4)
    blocks = [segment.title for segment in segments_of(network, fold=True) if segment.is_block]
    assert blocks == ["block1.0", "block2.0", "block3.0"]
    first = network.layers[0]
    assert (first.name, first.shape) == ("images", (3, 32, 32))
    assert network.layers[-1].outputs == ("logits",)
    assert not any(tensor.codes for tensor in network.tensors)


def test_a_half_graph_has_the_same_layers(made_bundle: Path, out: Path) -> None:
    single, half = _plot(made_bundle, out), _plot(made_bundle, out, Precision.FP16)
    assert [(layer.name, layer.label, layer.shape) for layer in half.layers] == [
        (layer.name, layer.label, layer.shape) for layer in single.layers
    ]
    assert half.parameters == single.parameters
    assert {layer.arithmetic for layer in half.layers} == {"fp16", None}


def test_q_and_dq_are_colours_of_tensors(made_bundle: Path, out: Path) -> None:
    single, quantized = _plot(made_bundle, out), _plot(made_bundle, out, Precision.INT8)
    names = [layer.name for layer in quantized.layers if layer.name != "pixels"]
    assert names == [layer.name for layer in single.layers]
    assert {layer.arithmetic for layer in quantized.layers if layer.kind is LayerKind.CONV} == {"int8"}
    into = {
        quantized.layers[tensor.target].kind: {t.codes for t in quantized.tensors if t.target == tensor.target}
        for tensor in quantized.tensors
    }
    assert into[LayerKind.CONV] == {"int8"}
    assert into[LayerKind.SUM] == {None}, "sums that BN reads are float"
    assert into[LayerKind.NORM] == into[LayerKind.LINEAR] == {None}


def test_the_graph_for_onnxruntime_has_what_inspect_finds(made_bundle: Path, out: Path) -> None:
    file = made_bundle / "int8-onnxruntime.onnx"
    network, view = _plot(file, out), inspect_path(file, Silent())
    assert isinstance(view, GraphView)
    assert network.macs == view.macs
    assert {tensor.codes for tensor in network.tensors} == {"uint8", None}


def test_an_interface_is_a_layer_in_front_and_outputs_behind(interface_bundle: Bundle, out: Path) -> None:
    for precision in (Precision.FP32, Precision.INT8):
        network = _plot(interface_bundle.folder, out, precision)
        assert [layer.label for layer in network.layers[:2]] == ["input", "normalised pixels"]
        given = {name for layer in network.layers for name in layer.outputs}
        assert given == {"top_logits", "top_classes", "features"}
        assert all(tensor.source < tensor.target for tensor in network.tensors)


def test_a_network_known_by_name_needs_no_weights(out: Path) -> None:
    network = plot_model(PlotOptions(target="wrn-10-1", out=out), Silent())
    assert network.macs == count_cost(describe_model("wrn-10-1")).macs
    assert [segment.title for segment in segments_of(network, fold=True)][2:4] == ["block1.0", "block2.0.bn1"]


def test_without_out_the_picture_is_where_its_source_is(made_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    graph = folder / "graph.onnx"
    graph.write_bytes((made_bundle / "fp16.onnx").read_bytes())
    plot_model(PlotOptions(target=str(graph)), Silent())
    assert (folder / "graph.svg").is_file()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("missing.onnx", "'missing.onnx' does not exist"),
        ("a/b", "'a/b' does not exist"),
        ("wrm-16-2", "did you mean wrn-16-2"),
    ],
)
def test_what_is_not_there_is_refused(target: str, text: str, out: Path) -> None:
    with pytest.raises(DeployError, match=text):
        plot_model(PlotOptions(target=target, out=out), Silent())
    assert not out.exists()


def test_damage_is_an_error(tmp_path: Path, out: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"\x08\x01garbage")
    with pytest.raises(DeployError, match=r"graph.onnx (is not an ONNX file|contains a graph without nodes)"):
        _plot(tmp_path / "graph.onnx", out)


def test_a_precision_belongs_to_a_bundle(out: Path) -> None:
    options = PlotOptions(target="wrn-10-1", out=out, precision=Precision.INT8)
    with pytest.raises(UsageError, match="--precision int8 with wrn-10-1: expected it only with a bundle"):
        plot_model(options, Silent())
    with pytest.raises(DeployError, match="is a folder"):
        plot_model(dataclasses.replace(options, precision=None, out=out.parent), Silent())
