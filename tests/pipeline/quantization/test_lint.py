"""Linting a file: its counts, its gate, and files that are no graphs."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.writing.int8_weights import find_int8_weights
from wrn_deploy.errors import DeployError, GateError, MachineError
from wrn_deploy.pipeline.quantization.lint import Severity, Target, check_findings, lint_file


@pytest.fixture(scope="module")
def graph(made_bundle: Path) -> Path:
    bundle = Bundle.open(made_bundle)
    return bundle.file(bundle.artifacts["onnx-int8-tensorrt"])


def test_the_counts_of_a_graph(graph: Path) -> None:
    report = lint_file(graph, None)
    assert (report.target, report.guessed, report.opset) == (Target.TENSORRT, True, 20)
    assert (report.quantizers, report.dequantizers) == (7, 16), "the skips of sums that a BN reads are float"
    assert (report.int8_convs, report.float_convs, report.int8_share) == (9, 0, 1.0)
    assert report.count(Severity.ERROR) == report.count(Severity.WARNING) == 0
    check_findings(report)


def test_the_share_of_macs_of_a_float_conv(graph: Path, tmp_path: Path) -> None:
    """conv1 of wrn-10-1 is 16 x 3 x 3 x 3 weights at 32 x 32 positions: 442,368 of its Convs' multiply-accumulates."""
    model = ir.load(graph)
    model.graph.node("conv1").replace_input_with(0, model.graph.node("images.fp16").outputs[0])
    ir.save(model, tmp_path / "float.onnx")
    report = lint_file(tmp_path / "float.onnx", Target.TENSORRT)
    assert (report.guessed, report.int8_convs, report.float_convs) == (False, 8, 1)
    macs = {node.name: _macs(node) for node in model.graph if node.op_type == "Conv"}
    assert macs["conv1"] == 442_368
    assert report.int8_share == pytest.approx(1 - 442_368 / sum(macs.values()))
    with pytest.raises(GateError, match="breaks QDQ114 in 1 place: expected no errors for tensorrt"):
        check_findings(report)


def _macs(conv: ir.Node) -> int:
    weights, output = conv.inputs[1], conv.outputs[0]
    assert weights is not None
    assert weights.shape is not None
    assert output.shape is not None
    return math.prod(int(str(size)) for size in (*weights.shape, *output.shape[2:]))


def test_shapes_that_the_file_leaves_out_are_inferred(graph: Path, tmp_path: Path) -> None:
    proto = onnx.load(graph)
    del proto.graph.value_info[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    assert lint_file(tmp_path / "bare.onnx", None).int8_share == 1.0


def test_a_size_that_is_not_known_leaves_the_share_out(graph: Path, tmp_path: Path) -> None:
    proto = onnx.load(graph)
    for value in (*proto.graph.value_info, *proto.graph.input):
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if index > 1:
                dim.dim_param = f"size{index}"
    onnx.save(proto, tmp_path / "dynamic.onnx")
    assert lint_file(tmp_path / "dynamic.onnx", None).int8_share is None


@pytest.mark.parametrize(
    ("kept", "severity"),
    [
        ("[]", Severity.WARNING),
        ('["block1.0.conv2"]', Severity.NOTE),
        ("no json", Severity.WARNING),
        ("3", Severity.WARNING),
    ],
)
def test_convs_that_are_float_on_purpose_are_notes(graph: Path, tmp_path: Path, kept: str, severity: Severity) -> None:
    model = ir.load(graph)
    conv = model.graph.node("block1.0.conv2")
    # Constant channels, behind the 16 others, undo the shift of what it reads.
    weights = find_int8_weights(model)["block1.0.conv2"].codes.astype(np.float16)
    assert weights.shape[1] > 16
    model.graph.initializers.add(ir.val("weights", const_value=ir.Tensor(weights, name="weights")))
    conv.replace_input_with(0, model.graph.node("block1.0.conv1").outputs[0])
    conv.replace_input_with(1, model.graph.initializers["weights"])
    model.metadata_props["wrn_deploy.float_convs"] = kept
    ir.save(model, tmp_path / "kept.onnx")
    findings = lint_file(tmp_path / "kept.onnx", None).findings
    [found] = [finding for finding in findings if finding.place.node == "block1.0.conv2"]
    assert found.rule.severity is severity
    macs = {node.name: _macs(node) for node in model.graph if node.op_type == "Conv"}
    assert found.place.detail == f"{100.0 * macs['block1.0.conv2'] / sum(macs.values()):.1f} % of the Convs' MACs"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b"this is no protobuf at all", "is not an ONNX file"),
        (b"\x08\x0a", "contains a graph without nodes"),
    ],
)
def test_other_files_are_refused(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "graph.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DeployError) as caught:
        lint_file(file, None)
    assert caught.value.exit_code == 1
    assert words in str(caught.value)
    assert "expected an ONNX graph" in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="is a folder: expected a regular file"):
        lint_file(tmp_path, None)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(graph: Path, tmp_path: Path, share: float) -> None:
    content = graph.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DeployError, match="is not an ONNX file"):
        lint_file(tmp_path / "cut.onnx", None)


def test_a_graph_with_a_cycle_or_a_node_without_output(graph: Path, tmp_path: Path) -> None:
    proto = onnx.load(graph)
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    conv.input[0] = next(node for node in proto.graph.node if node.op_type == "Gemm").output[0]
    onnx.save(proto, tmp_path / "cycle.onnx")
    with pytest.raises(DeployError, match="is not an ONNX file"):
        lint_file(tmp_path / "cycle.onnx", None)
    proto = onnx.load(graph)
    del proto.graph.node[-1].output[:]
    onnx.save(proto, tmp_path / "output.onnx")
    with pytest.raises(DeployError, match="has a node without an output"):
        lint_file(tmp_path / "output.onnx", None)


def test_tensors_in_a_file_that_is_missing(graph: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(graph), tmp_path / "ext.onnx", save_as_external_data=True, location="data", size_threshold=0)
    assert lint_file(tmp_path / "ext.onnx", None).int8_share == 1.0
    shutil.move(tmp_path / "data", tmp_path / "gone")
    with pytest.raises(DeployError, match="needs the external data 'data'"):
        lint_file(tmp_path / "ext.onnx", None)


def test_without_onnx(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(MachineError, match=r"linting a graph needs onnx-ir.*pip install 'onnx-ir>"):
        lint_file(graph, None)


def test_findings_are_plain_data(graph: Path) -> None:
    report = lint_file(graph, Target.ONNXRUNTIME)
    assert json.dumps([finding.rule.id for finding in report.findings])
    ranks = [[*Severity].index(finding.rule.severity) for finding in report.findings]
    assert ranks == sorted(ranks)
