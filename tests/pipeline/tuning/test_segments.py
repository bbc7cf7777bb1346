"""Graphs in parts: they are quantized where the whole graph is, and compute the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx_ir as ir
import pytest

from tests.calib.small_net import table_of
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.export.graph import export_graph
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.pipeline.quantization.base_graph import read_equalized, read_unwrapped
from wrn_deploy.pipeline.quantization.quantize import mixed_graph
from wrn_deploy.pipeline.tuning.chain import open_part, run_alone
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.pipeline.tuning.reference import Floats
from wrn_deploy.pipeline.tuning.segments import compute_in_fp32, divide, find_cuts
from wrn_deploy.runtime.sessions import infer_with, open_session


def digits(bundle: Bundle) -> list[Floats]:
    batches = Batches(open_data("digits", Role.TEST), bundle.spec.preprocessing, 16, limit=32)
    return [normalize(batch.images, bundle.spec.preprocessing) for batch in batches]


def answers(model: ir.Model, batches: list[Floats]) -> Floats:
    content = ir.to_proto(model).SerializeToString()
    return np.concatenate([*map(infer_with(open_session(content, 1, fuses_qdq=False)), batches)])


def assert_close(logits: Floats, wanted: Floats) -> None:
    """The last bits differ: ONNX Runtime adds up in another order if it computes several nodes at once."""
    assert np.square(logits - wanted).mean() < 1e-6 * wanted.var()


def quantizers(model: ir.Model) -> set[str]:
    return {node.name or "" for node in model.graph if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("name", ["wrn-16-2", "resnet-18"])
def test_the_parts_are_quantized_where_the_whole_graph_is(name: str) -> None:
    spec = describe_model(name)
    graph = export_graph(build_model(spec).eval(), spec)
    cuts = find_cuts(graph.graph)
    parts = divide(graph, cuts)
    convs = [node.name or "" for node in graph.graph if node.op_type == "Conv"]
    assert [node.name for part in parts for node in part.graph if node.op_type == "Conv"] == convs
    assert len(parts) > len(convs) / 4
    random, table = np.random.default_rng(0), table_of(graph)
    for count in (0, 1, len(convs) // 2, len(convs) - 1, len(convs)):
        kept = frozenset(random.choice(convs, count, replace=False).tolist())
        whole = quantizers(quantize_for_tensorrt(graph, graph, table, kept))
        written = [quantize_for_tensorrt(part, part, table, kept, whole=graph.graph) for part in parts]
        assert {name for part in written for name in quantizers(part)} == whole


def test_no_part_ends_in_a_max_pool() -> None:
    """Whether it is quantized depends on the Convs behind it."""
    spec = describe_model("resnet-18")
    parts = divide(graph := export_graph(build_model(spec).eval(), spec), find_cuts(graph.graph))
    assert any(node.op_type == "MaxPool" for part in parts for node in part.graph)
    for part, following in pairwise(parts):
        made_by = part.graph.outputs[0].producer()
        assert made_by is not None
        assert made_by.op_type != "MaxPool"
        assert part.graph.outputs[0].name == following.graph.inputs[0].name


def test_the_parts_compute_what_the_whole_graph_in_fp32_does(bundle: Bundle) -> None:
    base = bundle.artifacts["onnx-int8-tensorrt"]
    graphs, images = MixedGraphs(bundle, base), digits(bundle)
    int8, (fp32, table) = read_unwrapped(bundle.file(base)), read_equalized(bundle)
    for kept in (frozenset[str](), frozenset([*graphs.macs][::2]), frozenset(graphs.macs)):
        values, parts = images, graphs.parts
        for index, convs in enumerate(parts.convs):
            values = [*map(open_part(parts, index, kept.intersection(convs), 1), values)]
        half = mixed_graph(int8, kept, fp32=fp32, table=table, spec=bundle.spec)
        exact, logits = answers(half, images), np.concatenate(values)
        assert_close(logits, answers(compute_in_fp32(half), images))
        assert np.square(logits - exact).mean() < 1e-3 * exact.var()


def test_each_conv_alone_is_what_its_whole_graph_gives(bundle: Bundle) -> None:
    base = bundle.artifacts["onnx-int8-tensorrt"]
    graphs, images = MixedGraphs(bundle, base), digits(bundle)
    int8, (fp32, table) = read_unwrapped(bundle.file(base)), read_equalized(bundle)
    measured = {name: np.concatenate([*logits]) for name, logits in run_alone(graphs.parts, images, 1)}
    assert [*measured] == [*graphs.macs]
    for name, logits in measured.items():
        others = [other for other in graphs.macs if other != name]
        half = mixed_graph(int8, others, fp32=fp32, table=table, spec=bundle.spec)
        assert_close(logits, answers(compute_in_fp32(half), images))
