"""Explaining: where two graphs spend their time, layer by layer, and which lint rules name the layer."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.layers import EngineLayer, EngineTensor, parse_json
from wrn_deploy.engines.promise import expected_precisions
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.inspection.explain import (
    BETWEEN,
    ExplainOptions,
    Explanation,
    LayerRow,
    TimingOptions,
    compare,
    explain,
)
from wrn_deploy.pipeline.inspection.node_times import (
    NodeTime,
    RunTimes,
    TimedPair,
    match_layers,
    name_nodes,
    time_graphs,
)
from wrn_deploy.pipeline.inspection.plan_times import place_layers
from wrn_deploy.pipeline.read_graph import read_graph
from wrn_deploy.progress import Silent

QUICK = TimingOptions(rounds=2, threads=1)
CONVS = ["conv1", *(f"block{group}.0.{name}" for group in (1, 2, 3) for name in ("conv1", "conv2"))]


def look(a: Path, b: Path, timing: TimingOptions = QUICK) -> Explanation:
    return explain(ExplainOptions(a=a, b=b, timing=timing), Silent())


def rows(explanation: Explanation) -> dict[str, LayerRow]:
    return {row.name: row for row in explanation.rows}


def test_each_layer_of_both_graphs_has_its_row(made_bundle: Path) -> None:
    found = look(made_bundle / "fp32.onnx", made_bundle / "int8-onnxruntime.onnx")
    layers = {name: row for name, row in rows(found).items() if not name.startswith(BETWEEN)}
    assert set(CONVS) | {"fc"} <= set(layers)
    for name in CONVS[1:]:
        row = layers[name]
        assert (row.a.arithmetic, row.b.arithmetic) == ("fp32", "int8")
        assert (row.a.nodes, row.b.nodes) == (1, 1)
        assert 0 <= row.a.min_ms <= row.a.ms
    assert found.runtime == "ONNX Runtime on this CPU"
    assert (found.batch, found.runs) == (1, 6)


def test_the_rows_have_the_largest_difference_first(made_bundle: Path) -> None:
    found = look(made_bundle / "fp32.onnx", made_bundle / "int8-onnxruntime.onnx")
    sizes = [abs(row.difference_ms) for row in found.rows]
    assert sizes == sorted(sizes, reverse=True)


def test_what_no_row_has_is_said(made_bundle: Path) -> None:
    found = look(made_bundle / "fp32.onnx", made_bundle / "int8-onnxruntime.onnx")
    for index, side in enumerate("ab"):
        total = sum(getattr(row, side).ms for row in found.rows) + found.unaccounted_ms[index]
        assert total == pytest.approx(found.totals_ms[index])
        assert 0 < found.between_ms[index] < found.totals_ms[index]


def test_a_graph_for_another_runtime_is_slower_and_lint_says_why(made_bundle: Path) -> None:
    """ONNX Runtime does not make integer kernels of TensorRT's placement: Convs run in float."""
    found = look(made_bundle / "int8-onnxruntime.onnx", made_bundle / "int8-tensorrt.onnx")
    assert found.totals_ms[1] > 1.2 * found.totals_ms[0]
    assert "QDQ501" in found.graph_rules
    assert "activations are int8, not uint8" in found.rules["QDQ501"][0]
    row = rows(found)["block2.0.conv2"]
    assert (row.a.arithmetic, row.b.arithmetic) == ("int8", "fp32")
    assert row.rules
    assert set(row.rules) <= set(found.rules)
    assert rows(found)[f"{BETWEEN}DequantizeLinear"].b.ms > rows(found)[f"{BETWEEN}DequantizeLinear"].a.ms


def test_a_graph_beside_itself_has_the_same_rows(made_bundle: Path) -> None:
    found = look(made_bundle / "fp32.onnx", made_bundle / "fp32.onnx")
    assert all(row.a.nodes == row.b.nodes for row in found.rows)
    assert (found.rules, found.graph_rules) == ({}, ())  # without Q/DQ there is nothing to lint


@pytest.mark.parametrize("name", ["fp32.onnx", "fp16.onnx", "int8-onnxruntime.onnx", "int8-tensorrt.onnx"])
def test_no_conv_is_without_a_row(made_bundle: Path, name: str) -> None:
    """However ONNX Runtime fuses, converts and renames: as many of its nodes have a row as there are layers."""
    model = name_nodes(read_graph(made_bundle / name))
    measured = time_graphs((model, model), TimingOptions(rounds=1, threads=1), Silent())
    rows_of = match_layers((model, model), measured)[0]
    layers = [node.name for node in expected_precisions(model)]
    assert sorted(row for row in rows_of.values() if not row.startswith(BETWEEN)) == sorted(layers)


def test_nodes_without_names_are_called_after_their_outputs(made_bundle: Path, tmp_path: Path) -> None:
    """A Conv and its output have one name in our graphs, so that the rows stay; the classifier's output is "logits"."""
    model = ir.load(made_bundle / "fp32.onnx")
    for node in model.graph:
        node.name = None
    ir.save(model, tmp_path / "nameless.onnx")
    found = look(made_bundle / "fp32.onnx", tmp_path / "nameless.onnx")
    assert {row.name for row in found.rows if row.a.nodes != row.b.nodes} == {"fc", "logits"}
    assert "block1.0.conv1" in rows(found)


def test_a_batch_takes_longer(made_bundle: Path) -> None:
    one, many = (
        look(made_bundle / "fp32.onnx", made_bundle / "fp32.onnx", TimingOptions(batch=n, rounds=2, threads=1))
        for n in (1, 16)
    )
    assert many.batch == 16
    assert many.totals_ms[0] > 2 * one.totals_ms[0]


def test_a_graph_with_a_fixed_batch_says_which(made_bundle: Path, tmp_path: Path) -> None:
    model = ir.load(made_bundle / "fp32.onnx")
    model.graph.inputs[0].shape = ir.Shape([4, 3, 32, 32])
    ir.save(model, tmp_path / "four.onnx")
    with pytest.raises(UsageError, match=r"B: the graph's batch is 4, not 1: pass --batch 4"):
        look(made_bundle / "fp32.onnx", tmp_path / "four.onnx")


def test_an_open_image_size_is_refused(made_bundle: Path, tmp_path: Path) -> None:
    model = ir.load(made_bundle / "fp32.onnx")
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, "height", 32])
    ir.save(model, tmp_path / "open.onnx")
    with pytest.raises(DeployError, match="expected float32, float16 or uint8, with a batch first and all other sizes"):
        look(tmp_path / "open.onnx", made_bundle / "fp32.onnx")


class Warned(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_a_graph_that_cannot_be_linted_is_timed_all_the_same(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise DeployError("it has fp8 codes")

    monkeypatch.setattr("wrn_deploy.pipeline.quantization.lint.lint_file", refuse)
    progress = Warned()
    found = explain(
        ExplainOptions(a=made_bundle / "fp32.onnx", b=made_bundle / "int8-onnxruntime.onnx", timing=QUICK), progress
    )
    assert found.rules == {}
    assert progress.warnings == ["lint skipped B: it has fp8 codes"]


def test_two_of_a_kind_are_expected(made_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(b"vtrt")
    with pytest.raises(UsageError, match="one is a plan, which runs on a GPU, and one a graph"):
        look(made_bundle / "fp32.onnx", tmp_path / "x.plan")
    with pytest.raises(DeployError, match=r"x\.plan is not a plan of a bundle"):
        look(tmp_path / "x.plan", tmp_path / "x.plan", replace(QUICK, threads=None))
    with pytest.raises(DeployError, match="expected an ONNX graph or a plan, such as"):
        look(made_bundle, made_bundle / "fp32.onnx")


def test_plans_need_a_gpu(made_bundle: Path) -> None:
    half, int8 = (made_bundle / f"{precision}-tensorrt_rtx.plan" for precision in ("fp16", "int8"))
    if find_gpu() is not None or not half.exists():
        pytest.skip("there is a GPU, or no TensorRT-RTX")
    with pytest.raises(MachineError, match="needs a CUDA GPU: compare their ONNX graphs on this CPU instead"):
        look(half, int8, replace(QUICK, threads=None))


@pytest.mark.gpu
def test_plans_on_a_gpu(bundle: Bundle) -> None:
    from wrn_deploy.engines.flavor import installed_flavors
    from wrn_deploy.engines.options import EngineOptions
    from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
    from wrn_deploy.spec import Precision

    for flavor in installed_flavors():
        half, int8 = (
            bundle.file(
                build_engine(
                    bundle,
                    BuildOptions(precision=precision, engine=EngineOptions(), flavor=flavor, rebuild=True),
                    Silent(),
                )
            )
            for precision in (Precision.FP16, Precision.INT8)
        )
        found = look(half, int8, TimingOptions(batch=8, rounds=3))
        row = rows(found)["block2.0.conv2"]
        assert (row.a.arithmetic, row.b.arithmetic) == ("fp16", "int8")
        assert row.a.ms > 0
        assert row.b.ms > 0


def kernel(name: str, kind: str, types: tuple[str, str], onnx: tuple[str, ...]) -> EngineLayer:
    from wrn_deploy.engines.layers import Arithmetic

    reads, weights = (EngineTensor("", Arithmetic(text), 10**6) for text in types)
    return EngineLayer(name=name, kind=kind, inputs=(reads,), weights=(weights,), outputs=(), tactic="", onnx=onnx)


def test_the_layers_of_an_engine_find_their_rows(made_bundle: Path) -> None:
    """What a profiler reports for an engine; no GPU runs here."""
    expected = expected_precisions(ir.load(made_bundle / "int8-tensorrt.onnx"))
    layers = [
        kernel("__myl_CastMul_myl0_0", "kgen", ("fp32", "fp16"), ("images.fp16", "conv1")),
        kernel("conv1_U210_myl0_1", "correlation", ("int8", "int8"), ("conv1", "conv1.weight.dq")),
        kernel("__myl_MulAddRelu_myl0_2", "kgen", ("fp32", "fp16"), ("conv1", "conv1.relu")),
    ]
    runs = [(3.0, {layers[0].name: 0.5, layers[1].name: 1.0, layers[2].name: 0.25, "new": 0.125})] * 2
    measured, rows_of = place_layers(expected, layers, runs)
    assert measured.totals_ms == (3.0, 3.0)
    assert {part.name: (rows_of[part.name], part.arithmetic) for part in measured.parts} == {
        "__myl_CastMul_myl0_0": (f"{BETWEEN}kgen", ""),
        "conv1_U210_myl0_1": ("conv1", "int8"),
        "__myl_MulAddRelu_myl0_2": (f"{BETWEEN}kgen", ""),
        "new": (f"{BETWEEN}layers that the inspector does not name", ""),
    }
    assert rows_of["conv1.weight.dq"] == "conv1"
    assert parse_json('{"Layers": []}') == []


def pair_of(side: RunTimes, rows_of: dict[str, str]) -> TimedPair:
    return TimedPair(runtime="nothing", measured=(side, side), rows_of=(rows_of, rows_of), findings=())


def test_times_are_added_up_run_by_run() -> None:
    """The median of sums, not the sum of medians."""
    parts = (NodeTime("x", "Cast", "fp16", (1.0, 5.0, 2.0)), NodeTime("y", "Cast", "fp16", (5.0, 1.0, 2.0)))
    side = RunTimes((7.0, 7.0, 5.0), parts)
    rows_of = {"x": f"{BETWEEN}Cast", "y": f"{BETWEEN}Cast"}
    options = ExplainOptions(a=Path("a"), b=Path("b"), timing=QUICK)
    found = compare(options, pair_of(side, rows_of))
    (row,) = found.rows
    assert (row.a.ms, row.a.min_ms, row.a.nodes, row.a.arithmetic) == (6.0, 4.0, 2, "")
    assert found.totals_ms[0] == statistics.median(side.totals_ms) == 7.0
    assert (found.unaccounted_ms[0], found.between_ms[0]) == (1.0, 1.0)


def test_disturbed_runs_do_not_count() -> None:
    """The slower half of the runs: all of a run, so that its parts and its sum stay together."""
    side = RunTimes((2.0, 9.0, 3.0, 8.0), (NodeTime("x", "Conv", "fp32", (1.0, 1.0, 2.0, 7.0)),))
    options = ExplainOptions(a=Path("a"), b=Path("b"), timing=QUICK)
    found = compare(options, pair_of(side, {"x": "x"}))
    assert found.totals_ms == (2.5, 2.5)
    assert (found.rows[0].a.ms, found.rows[0].a.min_ms) == (1.5, 1.0)
    assert found.between_ms == (1.0, 1.0)
