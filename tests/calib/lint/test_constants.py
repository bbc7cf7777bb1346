"""Constants that reach their readers through other nodes: what lint says agrees with what the runtimes do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.calib.lint.handed_on import CODES, SCALES, C, Maker, dropout, identity, qdq_conv
from wrn_deploy.calib.lint.finding import Severity, Target
from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.pipeline.quantization.lint import LintReport, lint_file

HALF = np.full(C // 2, 0.01, np.float32)
AS_KERAS = {"codes": lambda make: make.store(CODES.transpose(2, 3, 1, 0))}  # height, width, in, out


def _moved(kind: str, *sizes: int, **attributes: Any) -> Callable[[Maker, str], str]:
    """A node of this kind behind a value, with an input of sizes if any are given."""
    return lambda make, value: make.node(kind, value, *([make.sizes(*sizes)] if sizes else []), **attributes)


def _sliced(make: Maker, value: str) -> str:
    return make.node("Slice", value, make.sizes(0), make.sizes(C), make.sizes(0))


def _there_and_back(make: Maker, value: str) -> str:
    return make.node("Transpose", make.node("Transpose", value, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])


BACK = _moved("Transpose", perm=[3, 2, 0, 1])
WHOLE = _moved("Reshape", C, C, 3, 3)
# name -> the graph, and the errors of lint for TensorRT and for ONNX Runtime
CASES: dict[str, tuple[dict[str, object], set[str], set[str]]] = {
    "plain": ({}, set(), set()),
    "com.microsoft": ({"domain": "com.microsoft"}, set(), set()),
    # scales: computed from constants by whatever
    "scale, Identity": ({"scale": lambda m: identity(m, m.store(np.float32(0.05)))}, set(), set()),
    "scales, Identity": ({"scales": lambda m: identity(m, m.store(SCALES))}, set(), set()),
    "scale, Dropout": ({"scale": lambda m: dropout(m, m.store(np.float32(0.05)))}, set(), set()),
    "scale, Constant": ({"scale": lambda m: m.constant(np.float32(0.05))}, set(), set()),
    "scale, Squeeze": ({"scale": lambda m: m.node("Squeeze", m.store(np.array([0.05], np.float32)))}, set(), set()),
    "scale, Cast": ({"scale": lambda m: m.node("Cast", m.store(np.float16(0.05)), to=1)}, set(), set()),
    "scale, Mul": (
        {"scale": lambda m: m.node("Mul", m.store(np.float32(0.5)), m.store(np.float32(0.1)))}, set(), set(),
    ),
    "scales, Expand": ({"scales": lambda m: m.node("Expand", m.store(SCALES[:1]), m.sizes(C))}, set(), set()),
    "scales, Concat": ({"scales": lambda m: m.node("Concat", m.store(HALF), m.store(HALF), axis=0)}, set(), set()),
    "scales, zeros": (
        {"scales": lambda m: m.node("Mul", m.store(SCALES), m.store(np.float32(0)))}, {"QDQ201"}, {"QDQ201"},
    ),
    "scale, of the image": ({"scale": lambda m: m.node("ReduceMax", "x", keepdims=0)}, {"QDQ208"}, set()),
    # zero points: TensorRT wants them stored
    "zero point, Identity": ({"zero": identity}, set(), set()),
    "zero point, Cast": ({"zero": _moved("Cast", to=3)}, set(), set()),
    "zero point, Transpose": ({"zero": _moved("Transpose")}, {"QDQ209"}, set()),
    # weights behind their DQ
    "weights, Identity": ({"weights": identity}, set(), set()),
    "weights, Dropout": ({"weights": dropout}, set(), set()),
    "weights, Transpose": ({**AS_KERAS, "axis": 3, "weights": BACK}, set(), set()),
    "weights, Transpose, no zero points": ({**AS_KERAS, "axis": 3, "zeros": None, "weights": BACK}, set(), {"QDQ506"}),
    "weights, Identity, no zero points": ({"zeros": None, "weights": identity}, set(), set()),
    "weights, Transpose, axis from the end": ({**AS_KERAS, "axis": -1, "weights": BACK}, set(), set()),
    "weights, Transpose, axis of the inputs": (
        {**AS_KERAS, "axis": 2, "weights": BACK}, {"QDQ301"}, {"QDQ301"},
    ),
    "weights, Reshape": (
        {"codes": lambda m: m.store(CODES.reshape(C, -1)), "weights": WHOLE}, set(), {"QDQ506"},
    ),
    "weights, Reshape, scales of halves": (
        {"codes": lambda m: m.store(CODES.reshape(C // 2, -1)), "scales": lambda m: m.store(HALF), "zeros": C // 2,
         "weights": WHOLE},
        {"QDQ301"}, {"QDQ301", "QDQ506"},
    ),
    "weights, Squeeze": (
        {"codes": lambda m: m.store(CODES[None]), "axis": 1, "weights": _moved("Squeeze", 0)}, set(), {"QDQ506"},
    ),
    "weights, Slice": (
        {"codes": lambda m: m.store(np.tile(CODES, (2, 1, 1, 1))), "scales": lambda m: m.store(np.tile(SCALES, 2)),
         "zeros": 2 * C, "weights": _sliced}, set(), {"QDQ506"},
    ),
    # stored codes before their DQ: TensorRT allows no node between
    "codes, Constant": ({"codes": lambda m: m.constant(CODES)}, set(), set()),
    "codes, Identity": ({"codes": lambda m: identity(m, m.store(CODES))}, {"QDQ305"}, set()),
    "codes, Constant and Identity": ({"codes": lambda m: identity(m, m.constant(CODES))}, {"QDQ305"}, set()),
    "codes, Transpose": ({"codes": lambda m: BACK(m, m.store(CODES.transpose(2, 3, 1, 0)))}, {"QDQ305"}, set()),
    "codes, Reshape": ({"codes": lambda m: WHOLE(m, m.store(CODES.reshape(C, -1)))}, {"QDQ305"}, set()),
    "codes, Concat": (
        {"codes": lambda m: m.node("Concat", m.store(CODES[:3]), m.store(CODES[3:]), axis=0)}, {"QDQ305"}, set(),
    ),
    "codes, Cast": ({"codes": lambda m: m.node("Cast", m.store(CODES.astype(np.float32)), to=3)}, set(), set()),
    # the path of the image
    "data's codes, Identity": ({"data_codes": identity}, set(), set()),
    "data, Identity": ({"data": identity}, set(), set()),
    "data, Dropout": ({"data": dropout}, set(), set()),
    "data, Reshape": ({"data": _moved("Reshape", 1, C, 16, 16)}, set(), set()),
    "data, Transpose twice": ({"data": _there_and_back}, set(), set()),
}  # fmt: skip

for_each_case = pytest.mark.parametrize("case", CASES)


def written(case: str, folder: Path, *, unsigned: bool = False) -> Path:
    options = dict(CASES[case][0])
    if unsigned and case == "zero point, Cast":
        options["zero"] = _moved("Cast", to=2)
    file = folder / "graph.onnx"
    onnx.save(qdq_conv(**options, unsigned=unsigned), file)  # type: ignore[arg-type]
    return file


def errors(report: LintReport) -> set[str]:
    return {finding.rule.id for finding in report.findings if finding.rule.severity is Severity.ERROR}


@for_each_case
def test_lint_finds_what_a_runtime_cannot_use_and_nothing_else(case: str, tmp_path: Path) -> None:
    _, for_tensorrt, for_onnxruntime = CASES[case]
    report = lint_file(written(case, tmp_path), Target.TENSORRT)
    assert errors(report) == for_tensorrt
    assert (report.int8_convs, report.int8_share) == (1, 1.0)
    assert errors(lint_file(written(case, tmp_path, unsigned=True), Target.ONNXRUNTIME)) == for_onnxruntime


REFUSED = {"QDQ208", "QDQ209", "QDQ305"}  # "TensorRT refuses the file"; a computed scale can crash the parser


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("case", [case for case in CASES if not CASES[case][1] & {"QDQ201", "QDQ208"}])
def test_tensorrt_rtx_builds_what_lint_lets_through(case: str, tmp_path: Path) -> None:
    trt = find_flavor(Flavor.RTX).module
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, logger).parse(written(case, tmp_path).read_bytes())
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    assert (plan is None) == bool(CASES[case][1] & REFUSED)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("data, Dropout", "scale, of the image")])
def test_onnxruntime_forms_integer_kernels_of_what_lint_lets_through(case: str, tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    file = str(written(case, tmp_path, unsigned=True))
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    kernels = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert ("QLinearConv" in kernels) == ("QDQ506" not in CASES[case][2])


def test_nodes_that_hand_the_image_on_are_looked_through(tmp_path: Path) -> None:
    """An Identity between a Conv and its Q is no reader of floats."""
    model = qdq_conv(unsigned=True)
    relu = next(node for node in model.graph.node if node.name == "relu")
    relu.output[0] = "before"
    at = [node.name for node in model.graph.node].index("y.q")
    model.graph.node.insert(at, onnx.helper.make_node("Identity", ["before"], ["relu"], name="identity"))
    onnx.save(model, tmp_path / "graph.onnx")
    assert "QDQ502" not in {finding.rule.id for finding in lint_file(tmp_path / "graph.onnx", None).findings}
