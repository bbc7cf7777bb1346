"""Graphs and other files by path that would hang, run for ever or read other files: inspect, lint, plot and explain."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.files.onnx.made import constant, network, write
from tests.files.onnx.test_check import doubling
from wrn_deploy.errors import DeployError, OverLimit
from wrn_deploy.pipeline.inspection.explain import ExplainOptions, TimingOptions, explain
from wrn_deploy.pipeline.inspection.inspect import inspect_path
from wrn_deploy.pipeline.inspection.plots import PlotOptions, plot_model
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.progress import Silent

READERS: dict[str, Callable[[Path], object]] = {
    "inspect": lambda file: inspect_path(file, Silent()),
    "lint": lambda file: lint_file(file, None),
    "plot": lambda file: plot_model(PlotOptions(target=str(file)), Silent()),
    "explain": lambda file: explain(ExplainOptions(a=file, b=file, timing=TimingOptions()), Silent()),
}


def endless() -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("vin", "vout")]
    flag = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("cin", "cout")]
    nodes = [helper.make_node("Identity", ["cin"], ["cout"]), helper.make_node("Identity", ["vin"], ["vout"])]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph(nodes, "b", [count, flag[0], value[0]], [flag[1], value[1]])
    loop = helper.make_node("Loop", ["n", "t", "one"], ["logits"], body=body)
    constants = [constant("n", np.int64(2**62)), constant("t", np.array(1, bool)), constant("one", [1.0])]
    return network([loop], constants)


@pytest.mark.parametrize("reader", READERS)
def test_functions_that_double_are_refused_at_once(reader: str, tmp_path: Path) -> None:
    file, start = write(doubling(28), tmp_path), time.monotonic()
    with pytest.raises(OverLimit, match="with its functions written out"):
        READERS[reader](file)
    assert time.monotonic() - start < 30


def test_a_loop_is_inspected_but_not_run(tmp_path: Path) -> None:
    file = write(endless(), tmp_path)
    READERS["inspect"](file)
    READERS["lint"](file)
    for model in (endless(), doubling(3)):
        with pytest.raises(DeployError, match=r"has functions, loops or branches: expected a graph of plain layers"):
            READERS["explain"](write(model, tmp_path))


@pytest.mark.parametrize("reader", READERS)
def test_a_fifo_is_not_waited_for(reader: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "g.onnx")
    with pytest.raises(DeployError):
        READERS[reader](tmp_path / "g.onnx")
