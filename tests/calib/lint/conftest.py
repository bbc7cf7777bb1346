"""Our own Q/DQ graphs, which lint clean: the defects are made in copies of them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from tests.calib.graphs import plain_table
from wrn_deploy.calib.writing.for_onnxruntime import quantize_for_onnxruntime
from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
from wrn_deploy.export.half import convert_fp16


@pytest.fixture(scope="session")
def trained_tensorrt(trained_graph: ir.Model, trained_half: ir.Model) -> ir.Model:
    return quantize_for_tensorrt(trained_graph, trained_half, plain_table(trained_graph.graph))


@pytest.fixture(scope="session")
def trained_onnxruntime(trained_graph: ir.Model) -> ir.Model:
    return quantize_for_onnxruntime(trained_graph, plain_table(trained_graph.graph))


@pytest.fixture(scope="session")
def bottleneck_tensorrt(bottleneck_graph: ir.Model) -> ir.Model:
    table = plain_table(bottleneck_graph.graph)
    return quantize_for_tensorrt(bottleneck_graph, convert_fp16(bottleneck_graph), table)


@pytest.fixture(scope="session")
def bottleneck_onnxruntime(bottleneck_graph: ir.Model) -> ir.Model:
    return quantize_for_onnxruntime(bottleneck_graph, plain_table(bottleneck_graph.graph))
