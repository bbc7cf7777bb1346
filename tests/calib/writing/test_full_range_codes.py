"""The codes of shifted tensors: exact for any weights, all 256 used, and saturated without a Clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
import torch

from tests.calib.graphs import constant, session_of
from tests.calib.quantized import logits
from tests.calib.small_net import SMALL, STEP, UNIT, images, small_net, table_of
from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.lint.facts import lint_graph
from wrn_deploy.calib.lint.finding import Severity, Target
from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.qat.parameters import scales_of
from wrn_deploy.calib.qat.trainable import Trainable
from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
from wrn_deploy.calib.writing.full_range import Shift, is_shifted, saturate, settle, use_full_range
from wrn_deploy.calib.writing.int8_weights import Int8Weights, find_int8_weights
from wrn_deploy.export.half import convert_fp16
from wrn_deploy.graph import producer, value_name
from wrn_deploy.models import describe_model
from wrn_deploy.pipeline.quantization.quantize import mixed_graph
from wrn_deploy.runtime.sessions import infer_with, open_session

Images = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def small() -> ir.Model:
    return small_net()


def quantized_full_range(
    model: ir.Model, table: CalibrationTable, kept: Collection[str] = (), float_convs: Collection[str] = ()
) -> tuple[ir.Model, list[Shift]]:
    """The int8 graph as the pipeline makes it, before its Clips are removed; all else in fp32, to be exact."""
    changed, ranges, shifts = use_full_range(model, table, kept)
    extended = dataclasses.replace(table, tensors={**table.tensors, **ranges})
    return in_fp32(quantize_for_tensorrt(changed, changed, extended, float_convs)), shifts


def in_fp32(model: ir.Model) -> ir.Model:
    """Its fp16 scales as they are, in float32."""
    for name, value in model.graph.initializers.items():
        if value.dtype is ir.DataType.FLOAT16:
            value.const_value = ir.Tensor(constant(value).astype(np.float32), name=name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for node in model.graph:
        if node.op_type == "DequantizeLinear":
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return model


def store(value: ir.Value, values: npt.NDArray[np.generic]) -> None:
    value.const_value = ir.Tensor(values, name=value.name)


def any_codes(conv: Int8Weights, channels: int, dice: np.random.Generator) -> None:
    """Other codes than rounding gives, in a unit with which all sums are exact; no weights stay no weights."""
    codes = np.rint(conv.weights / UNIT).astype(np.int64)
    some = codes.any(axis=(1, 2, 3))
    codes[some, :channels] += dice.integers(-2, 3, size=codes[some, :channels].shape)
    conv.set_codes(codes.clip(-127, 127))
    store(conv.scale_value, np.full(len(codes), UNIT, dtype=np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_with_any_codes_it_is_what_unsigned_int8_computes(small: ir.Model, seed: int) -> None:
    """Bit for bit: ReLU's outputs as 0 .. 255 steps, by Q/DQ of uint8 in the graph without shifts."""
    table = table_of(small)
    int8, shifts = quantized_full_range(small, table)
    plain = in_fp32(quantize_for_tensorrt(small, small, table))
    stored, wanted = find_int8_weights(int8), find_int8_weights(plain)
    assert stored.keys() == wanted.keys()
    dice = np.random.default_rng(seed)
    for name, conv in stored.items():
        channels = wanted[name].codes.shape[1]
        outputs = len(wanted[name].codes)
        any_codes(conv, channels, dice)
        wanted[name].set_codes(conv.codes[:outputs, :channels])
        store(wanted[name].scale_value, conv.scale[:outputs])
    for node in plain.graph:
        if node.op_type == "QuantizeLinear" and value_name(node.inputs[0]) in SMALL:
            store(node.inputs[1], np.asarray(STEP, dtype=np.float32))  # type: ignore[arg-type]
            store(node.inputs[2], np.asarray(0, dtype=np.uint8))  # type: ignore[arg-type]
    given = torch.from_numpy(images(3))
    unsettled = TorchGraph(int8).run(given)
    settle(int8, shifts)
    expected, found = TorchGraph(plain).run(given), TorchGraph(int8).run(given)
    assert torch.equal(found, expected)
    assert not torch.equal(unsettled, expected)
    assert torch.equal(TorchGraph(saturate(int8)).run(given), expected)


def test_all_256_codes_are_used(small: ir.Model) -> None:
    changed, _ = quantized_full_range(small, table_of(small))
    (quantizer,) = [node for node in changed.graph if node.name == "layer1.0.conv1.relu.shifted.q"]
    changed.graph.outputs.append(quantizer.outputs[0])
    (codes,) = session_of(changed).run([quantizer.outputs[0].name], {"images": images(64)})
    assert codes.dtype == np.int8
    assert (codes.min(), codes.max()) == (-128, 127)
    assert len(np.unique(codes)) == 256


def test_twice_the_codes_have_a_quarter_of_the_error(small: ir.Model) -> None:
    """Of the first tensor: images and weights are exact here."""
    shifted, _ = quantized_full_range(small, table_of(small))
    plain = in_fp32(quantize_for_tensorrt(small, small, table_of(small)))
    for model in (shifted, plain):
        conv = find_int8_weights(model)["conv1"]
        codes = np.rint(conv.weights / UNIT)
        store(conv.scale_value, np.full(len(codes), UNIT, dtype=np.float32))
        conv.set_codes(codes.astype(np.int64))
    wanted = tensor(small, "conv1.relu")
    errors = [tensor(shifted, "conv1.relu.shifted.dq") + 128 * STEP - wanted, tensor(plain, "conv1.relu.dq") - wanted]
    few, many = (float(np.square(missing[wanted > 0]).mean()) for missing in errors)
    assert few / many == pytest.approx((127 / 255) ** 2, rel=0.1)


def tensor(model: ir.Model, name: str) -> Images:
    exposed = model.clone()
    exposed.graph.outputs.extend(value for node in exposed.graph for value in node.outputs if value.name == name)
    found: Images = session_of(exposed).run([name], {"images": images(8)})[0]
    return found


def computed(model: ir.Model) -> Images:
    """The logits in PyTorch: ONNX Runtime computes fp16 graphs with a MaxPool between Q/DQ otherwise."""
    found: Images = TorchGraph(model).run(torch.from_numpy(images(4))).numpy()
    return found


def test_constant_channels_share_what_they_undo_evenly(small: ir.Model) -> None:
    int8, shifts = quantized_full_range(small, table_of(small))
    (shift,) = [shift for shift in shifts if shift.constants]
    conv = find_int8_weights(int8)[shift.conv]
    any_codes(conv, shift.channels, np.random.default_rng(9))
    settle(int8, shifts)
    own, added = np.split(conv.codes.astype(int), [shift.channels], axis=1)
    assert added.shape[1] == shift.constants
    np.testing.assert_array_equal(added.sum(axis=1), 2 * own.sum(axis=1))
    assert (added.max(axis=1) - added.min(axis=1)).max() <= 1


def clips(model: ir.Model) -> list[str]:
    return [node.name or "" for node in model.graph if node.op_type == "Clip"]


def test_a_clip_in_front_of_q_changes_nothing(small: ir.Model) -> None:
    """ONNX Runtime computes the same bits without it, with fp16 in the graph as TensorRT gets it."""
    table = table_of(small)
    changed, ranges, shifts = use_full_range(small, table, ())
    extended = dataclasses.replace(table, tensors={**table.tensors, **ranges})
    int8 = quantize_for_tensorrt(changed, convert_fp16(changed), extended)
    settle(int8, shifts)
    assert len(clips(int8)) == len(SMALL) - 1
    before = unfused(int8)
    saturated = saturate(int8)
    assert saturated is int8
    assert clips(saturated) == []
    onnx.checker.check_model(ir.to_proto(saturated), full_check=True)
    assert np.array_equal(unfused(saturated), before)


def unfused(model: ir.Model) -> Images:
    """The logits of ONNX Runtime with each Q and DQ as it is written."""
    session = open_session(ir.to_proto(model).SerializeToString(), 1, fuses_qdq=False)
    return infer_with(session)(images(4))


def test_a_clip_that_a_float_conv_reads_stays(small: ir.Model) -> None:
    int8, _ = quantized_full_range(small, table_of(small), float_convs=["layer1.1.conv1"])
    before = logits(int8, images(4))
    assert clips(saturate(int8)) == ["layer1.0.add.relu.shifted"]
    assert np.array_equal(logits(int8, images(4)), before)


def test_a_clip_for_another_scale_stays(small: ir.Model) -> None:
    """As after finetuning, had it moved the scale."""
    int8, _ = quantized_full_range(small, table_of(small))
    store(int8.graph.initializers["layer1.0.conv2.relu.shifted.scale"], np.asarray(1.5 * STEP, dtype=np.float32))
    assert clips(saturate(int8)) == ["layer1.0.conv2.relu.shifted"]


def test_any_conv_in_float_keeps_the_answers(small: ir.Model) -> None:
    """Alone, or with all others: those that write and that read shifted tensors, and those in sums."""
    table, spec = table_of(small), describe_model("wrn-10-1")
    changed, ranges, shifts = use_full_range(small, table, ())
    extended = dataclasses.replace(table, tensors={**table.tensors, **ranges})
    base = quantize_for_tensorrt(changed, convert_fp16(changed), extended)
    settle(base, shifts)
    saturate(base)
    names = [node.name or "" for node in small.graph if node.op_type == "Conv"]
    wanted = logits(small, images(4))
    limit = 2 * np.abs(computed(base) - wanted).max()
    assert 0 < limit < 0.2 * wanted.std()
    for kept in ([], *([name] for name in names), *([other for other in names if other != name] for name in names)):
        mixed = mixed_graph(base, kept, fp32=small, table=table, spec=spec)
        onnx.checker.check_model(ir.to_proto(mixed), full_check=True)
        assert find_int8_weights(mixed).keys() == {*names} - {*kept}
        assert np.abs(computed(mixed) - wanted).max() < limit, kept


def test_the_lint_finds_nothing_severe(small: ir.Model) -> None:
    table = table_of(small)
    changed, ranges, shifts = use_full_range(small, table, ())
    extended = dataclasses.replace(table, tensors={**table.tensors, **ranges})
    for float_convs in ([], ["layer1.1.conv1"], ["layer1.0.conv3", "layer1.1.conv3"]):
        int8 = quantize_for_tensorrt(changed, convert_fp16(changed), extended, float_convs)
        settle(int8, shifts)
        severe = [
            finding
            for finding in lint_graph(saturate(int8), Target.TENSORRT)
            if finding.rule.severity is not Severity.NOTE
        ]
        assert severe == []


def test_finetuning_leaves_the_scales_of_shifted_tensors(small: ir.Model) -> None:
    """The bias and the constant channels hold for these scales alone; all others are trained."""
    int8, shifts = quantized_full_range(small, table_of(small))
    settle(int8, shifts)
    model = saturate(int8)
    trained = set(scales_of(model.graph, everything=True))
    quantizers = [node for node in model.graph if node.op_type == "QuantizeLinear"]
    scales = {value_name(node.inputs[1]) for node in quantizers}
    fixed = {f"{name}.shifted.scale" for name in SMALL}
    assert fixed <= scales
    assert trained & scales == scales - fixed
    assert scales - fixed
    before = {name: constant(model.graph.initializers[name]).copy() for name in scales}
    values = Trainable(model, TorchGraph(model), scales=True)
    with torch.no_grad():
        for group in values.groups(1.0):
            for moves in group["params"]:
                moves.add_(3.0 * group["lr"])
    values.store()
    moved = {
        name for name, array in before.items() if not np.array_equal(array, constant(model.graph.initializers[name]))
    }
    assert moved == scales - fixed


def test_a_shifted_relu_is_named_by_its_tensor(small: ir.Model) -> None:
    changed, _, _ = use_full_range(small, table_of(small), ())
    values = [value for node in changed.graph for value in node.inputs]
    assert not is_shifted(None)
    assert {value_name(value).removesuffix(".shifted") for value in values if is_shifted(value)} == SMALL
    assert all(producer(value, "Clip", "MaxPool") for value in values if is_shifted(value))
