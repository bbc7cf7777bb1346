"""The roofline: a graph counted by hand, and the known numbers of the real networks."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import helper

from benchmarks.gpu import limits, roofline
from wrn_deploy.export.graph import export_graph
from wrn_deploy.models import build_model, describe_model


def a_graph() -> ir.Model:
    """images -> Conv -> Relu -> (Conv -> Add with the Relu) -> mean: (N, 4, 8, 8) throughout."""
    value = helper.make_tensor_value_info
    weights = [helper.make_tensor(name, 1, [4, 4, 3, 3], [0.0] * 144) for name in ("w1", "w2")]
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["out"], "mean"),
    ]
    inside = [value(name, 1, ["N", 4, 8, 8]) for name in "abcd"]
    ends = ([value("images", 1, ["N", 4, 8, 8])], [value("out", 1, ["N", 4, 1, 1])])
    graph = helper.make_graph(nodes, "graph", *ends, weights, value_info=inside)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


def test_a_small_graph_is_counted_as_by_hand() -> None:
    """Each activation has 256 elements an image, each Conv 144 weights; the sum reads the first Conv's output once."""
    assert roofline.kernels_of(a_graph(), 3) == [
        roofline.Kernel("first", 3 * 256 * 36, 3 * 2 * 256 + 144),
        roofline.Kernel("second", 3 * 256 * 36, 3 * 2 * 256 + 144),
        roofline.Kernel("mean", 0, 3 * (256 + 4)),
    ]


def test_each_kernel_takes_the_larger_of_its_two_times() -> None:
    peaks = limits.Limits("a GPU", 100.0, 400.0, 10.0, "a source")
    kernels = [roofline.Kernel("computes", 1000, 10), roofline.Kernel("moves", 1, 500)]
    assert roofline.roofline_s(kernels, peaks, 2) == pytest.approx(2000 / 100 + 1000 / 10)
    assert roofline.roofline_s(kernels, peaks, 1) == pytest.approx(2000 / 400 + 500 / 10)


@pytest.mark.parametrize(
    ("model", "gmac", "first_us", "images_per_s"),
    [("wrn-50-2", 11.40, 53, 29_300), ("wrn-28-10", 5.24, 22.6, 74_000)],
)
def test_the_networks_have_their_known_limits(model: str, gmac: float, first_us: float, *, images_per_s: float) -> None:
    """Of an H200, in fp16: batch 1 and batch 256; int8 takes half as long."""
    spec = describe_model(model)
    graph = export_graph(build_model(spec), spec)
    one, many = roofline.kernels_of(graph, 1), roofline.kernels_of(graph, 256)
    assert sum(kernel.macs for kernel in one) / 1e9 == pytest.approx(gmac, rel=1e-3)
    assert 1e6 * roofline.roofline_s(one, limits.H200, 2) == pytest.approx(first_us, rel=0.01)
    assert 256 / roofline.roofline_s(many, limits.H200, 2) == pytest.approx(images_per_s, rel=0.01)
    assert 256 / roofline.roofline_s(many, limits.H200, 1) == pytest.approx(2 * images_per_s, rel=0.01)
