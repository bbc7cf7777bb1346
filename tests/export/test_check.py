"""The gate: what it lets through, and that it stops everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.export.conftest import Exported, Images
from wrn_deploy.errors import GateError
from wrn_deploy.export.check import TOLERANCES, Tolerance, check_parity, check_structure, compare
from wrn_deploy.pipeline.networks.export import probe_images
from wrn_deploy.spec import Precision

Export = Callable[[str], Exported]
FP32, FP16 = TOLERANCES[Precision.FP32], TOLERANCES[Precision.FP16]


@pytest.fixture
def made(exported: Export) -> Exported:
    """A graph that a test may change."""
    first = exported("wrn-10-1")
    return Exported(first.spec, first.network, first.graph.clone())


def test_a_good_graph_passes(made: Exported) -> None:
    check_structure(made.graph, made.spec)


def _fix_batch(graph: ir.Graph) -> None:
    graph.inputs[0].shape = ir.Shape([2, 3, 32, 32])


def _fix_output(graph: ir.Graph) -> None:
    graph.outputs[0].shape = ir.Shape([2, 10])


def _rename(graph: ir.Graph) -> None:
    graph.inputs[0].name = "input"


def _resize(graph: ir.Graph) -> None:
    graph.inputs[0].shape = ir.Shape(["batch", 3, 224, 224])


def _lose_shape(graph: ir.Graph) -> None:
    graph.outputs[0].shape = None


def _second_output(graph: ir.Graph) -> None:
    graph.outputs.append(graph[0].outputs[0])


def _second_input(graph: ir.Graph) -> None:
    graph.inputs.append(ir.val("noise", ir.DataType.FLOAT, ["batch"]))


def _half_output(graph: ir.Graph) -> None:
    cast = ir.node("Cast", [graph.outputs[0]], {"to": ir.DataType.FLOAT16})
    graph.outputs[0].name, cast.outputs[0].name = "logits.fp32", "logits"
    cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT16), graph.outputs[0].shape
    graph.append(cast)
    graph.outputs[0] = cast.outputs[0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_fix_batch, r"has images FLOAT \[2,3,32,32\]: expected one images float32 \[batch,3,32,32\]"),
        (_fix_output, r"has logits FLOAT \[2,10\]: expected one logits float32 \[batch,10\]"),
        (_rename, r"has input FLOAT \[batch,3,32,32\]: expected one images"),
        (_second_output, r"has logits FLOAT \[batch,10\], conv1 FLOAT .*: expected one logits"),
        (_second_input, r"has images FLOAT .*, noise FLOAT \[batch\]: expected one images"),
        (_half_output, r"has logits FLOAT16 \[batch,10\]: expected one logits float32"),
    ],
)
def test_another_input_or_output_than_described_is_stopped(
    made: Exported, change: Callable[[ir.Graph], None], text: str
) -> None:
    change(made.graph.graph)
    with pytest.raises(GateError, match=text):
        check_structure(made.graph, made.spec)


@pytest.mark.parametrize("change", [_resize, _lose_shape])
def test_shapes_that_cannot_be_are_stopped(made: Exported, change: Callable[[ir.Graph], None]) -> None:
    change(made.graph.graph)
    with pytest.raises(GateError, match="the exported graph"):
        check_structure(made.graph, made.spec)


def test_what_onnx_does_not_accept_is_stopped(made: Exported) -> None:
    made.graph.graph[3].op_type = "Rely"
    with pytest.raises(
        GateError, match=r"(?s)the exported graph is not valid ONNX .*Rely.*: expected one that onnx\.checker"
    ):
        check_structure(made.graph, made.spec)


def test_a_graph_without_output_is_stopped(made: Exported) -> None:
    made.graph.graph.outputs.clear()
    with pytest.raises(GateError, match=r"has none: expected one logits|is not valid ONNX"):
        check_structure(made.graph, made.spec)


def test_a_bn_that_could_have_been_folded_is_stopped(made: Exported) -> None:
    graph = made.graph.graph
    conv = next(node for node in graph if node.name == "block1.0.conv2")
    bn = next(node for node in graph if node.op_type == "BatchNormalization")
    again = ir.node("BatchNormalization", [conv.outputs[0], *bn.inputs[1:]], name="block1.0.bn9")
    again.outputs[0].name, again.outputs[0].type = "block1.0.bn9", conv.outputs[0].type
    for use in list(conv.outputs[0].uses()):
        if use.node is not again:
            use.node.replace_input_with(use.idx, again.outputs[0])
    graph.insert_after(conv, again)
    with pytest.raises(
        GateError, match=r"block1\.0\.bn9 directly follows block1\.0\.conv2: expected this BN to be folded"
    ):
        check_structure(made.graph, made.spec)


def _logits(*rows: list[float]) -> Any:
    return np.array(rows, dtype=np.float32)


def test_equal_logits_are_at_no_distance() -> None:
    logits = _logits([1, -4, 2], [0, 1, 0])
    parity = compare(logits, logits, FP32)
    assert (parity.batch, parity.max_abs, parity.largest_logit) == (2, 0.0, 4.0)
    assert parity.cosine == pytest.approx(1)
    assert (parity.argmax_equal, parity.argmax_wrong) == (2, 0)
    assert parity.within(FP32)


def test_the_figures_are_those_of_the_worst_row() -> None:
    parity = compare(_logits([3, 4], [1, 0]), _logits([3, 4], [1, 1]), FP32)
    assert parity.max_abs == 1.0
    assert parity.cosine == pytest.approx(1 / np.sqrt(2))


def test_an_argmax_is_wrong_only_where_the_network_was_clear() -> None:
    tolerance = Tolerance(relative=0.05, cosine=0.0)
    unclear = compare(_logits([10.0, 9.9, 0]), _logits([9.9, 10.0, 0]), tolerance)
    assert (unclear.argmax_equal, unclear.argmax_wrong) == (0, 0)
    assert unclear.within(tolerance)
    clear = compare(_logits([10.0, 5.0, 0]), _logits([9.9, 10.0, 0]), tolerance)
    assert clear.argmax_wrong == 1
    assert not clear.within(tolerance)


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (_logits([100.05, 0, 0]), True),
        (_logits([100.2, 0, 0]), False),
        (_logits([float("nan"), 0, 0]), False),
        (_logits([float("inf"), 0, 0]), False),
        (_logits([0, 0, 0]), False),
        (_logits([-100, 0, 0]), False),
    ],
)
def test_the_tolerance_of_fp32_is_a_thousandth_of_the_largest_logit(found: Images, passes: bool) -> None:
    with np.errstate(invalid="ignore"):
        assert compare(_logits([100, 0, 0]), found, FP32).within(FP32) is passes


def test_a_small_rotation_is_stopped_although_no_logit_moved_far() -> None:
    wanted = np.tile(_logits([1, 1]), (1, 200))
    wanted[0, 0] = 100
    found = wanted.copy()
    found[0, 1:] *= -1
    loose = Tolerance(relative=0.05, cosine=0.999)
    assert compare(wanted, found, loose).max_abs < 0.05 * 100
    assert not compare(wanted, found, loose).within(loose)


def test_parity_is_reported_for_each_batch(exported: Export) -> None:
    made = exported("wrn-10-1")
    images = probe_images(made.spec, 5)
    found = check_parity(made.infer, made.infer, [images[:1], images], Precision.FP32)
    assert [parity.batch for parity in found] == [1, 5]
    assert [parity.argmax_equal for parity in found] == [1, 5]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_a_graph_that_computes_something_else_is_stopped_with_the_figures(
    exported: Export, precision: Precision
) -> None:
    made = exported("wrn-10-1")
    images = probe_images(made.spec, 5)
    limit = TOLERANCES[precision].relative

    def shifted(by: float) -> Callable[[Images], Images]:
        def run(batch: Images) -> Images:
            logits = made.infer(batch)
            logits[0, 2] += by * np.abs(logits).max()
            return logits

        return run

    check_parity(made.infer, shifted(0.2 * limit), [images[:1]], precision)
    with pytest.raises(
        GateError, match=rf"the {precision} graph does not compute what PyTorch computes at batch 5"
    ) as error:
        check_parity(made.infer, shifted(2 * limit), [images], precision)
    assert error.value.exit_code == 3
    assert f"expected at most {limit:g} of that" in str(error.value)
    assert "Nothing was written" in str(error.value)


def test_logits_that_are_not_finite_are_stopped(exported: Export) -> None:
    made = exported("wrn-10-1")
    with pytest.raises(GateError, match="largest error nan"):
        check_parity(made.infer, lambda batch: made.infer(batch) * np.nan, [probe_images(made.spec, 2)], Precision.FP16)


def test_a_batch_that_is_frozen_inside_is_stopped(exported: Export) -> None:
    made = exported("wrn-10-1")
    images = probe_images(made.spec, 4)

    def refuses(batch: Images) -> Images:
        if len(batch) != 2:
            raise RuntimeError("input shape {1,10}, requested shape {2,10}")
        return made.infer(batch)

    check_parity(made.infer, refuses, [images[:2]], Precision.FP32)
    with pytest.raises(GateError, match=r"does not run at batch 1 \(input shape .*\): expected a dynamic batch"):
        check_parity(made.infer, refuses, [images[:2], images[:1]], Precision.FP32)
    with pytest.raises(GateError, match=r"gives \(1, 10\) at batch 4: expected \(4, 10\)"):
        check_parity(made.infer, lambda batch: made.infer(batch)[:1], [images], Precision.FP32)
