"""The proof: real engines compute what their graphs ask for, and one that does not is found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import ml_dtypes
import onnx
import onnx_ir as ir
import pytest

from tests.engines.test_layers import TENSORRT_10, TENSORRT_11
from wrn_deploy.engines.build import build_plan
from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.engines.layers import Arithmetic, EngineLayer, EngineTensor, parse_json, parse_log
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.engines.promise import ExpectedPrecision, expected_precisions
from wrn_deploy.engines.proof import HigherPrecision, Source, check_precision, computed_in, prove, unproved
from wrn_deploy.errors import GateError
from wrn_deploy.progress import Silent
from wrn_deploy.spec import TensorSpec

IMAGES = TensorSpec("images", "float32", (3, 32, 32))
CONV1 = ExpectedPrecision(name="conv1", macs=1000, weights=4608, arithmetic=Arithmetic.INT8)
needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")


def built(file: Path) -> tuple[list[ExpectedPrecision], str]:
    """What a graph asks for, and what the builder printed of its engine."""
    plan = build_plan(find_flavor(Flavor.RTX), file, IMAGES, EngineOptions(), Silent())
    (message,) = plan.layer_lists
    return expected_precisions(ir.load(file)), message


@needs_rtx
@pytest.mark.parametrize(
    ("graph", "most"), [("fp32.onnx", "fp32"), ("fp16.onnx", "fp16"), ("int8-tensorrt.onnx", "int8")]
)
def test_a_real_engine_keeps_what_its_graph_promises(made_bundle: Path, graph: str, most: str) -> None:
    expected, message = built(made_bundle / graph)
    proof = prove(expected, parse_log(message), Source.LOG)
    assert proof.shares == proof.expected
    assert proof.shares[most] > 0.99
    assert (proof.higher_precision, proof.unknown) == ((), ())
    assert proof.layers is not None
    assert proof.reformats is not None
    assert len(expected) <= proof.layers <= 4 * len(expected)
    assert 0 <= proof.reformats < proof.layers
    check_precision(proof, graph)


@needs_rtx
def test_a_real_engine_of_fp8_codes(made_bundle: Path, tmp_path: Path) -> None:
    """The int8 graph with its codes as e4m3: what it computes does not matter here."""
    model = onnx.load(made_bundle / "int8-tensorrt.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:
            codes = onnx.numpy_helper.to_array(tensor).astype(ml_dtypes.float8_e4m3fn)
            tensor.data_type, tensor.raw_data = onnx.TensorProto.FLOAT8E4M3FN, codes.tobytes()
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "fp8.onnx")
    expected, message = built(tmp_path / "fp8.onnx")
    proof = prove(expected, parse_log(message), Source.LOG)
    assert {node.name: node.arithmetic for node in expected}["block2.0.conv2"] is Arithmetic.FP8
    assert {computed_in(node, parse_log(message)) for node in expected} == {Arithmetic.FP8, Arithmetic.FP16}
    assert (proof.higher_precision, proof.unknown) == ((), ())


@needs_rtx
def test_an_int8_conv_that_is_fed_halves_is_found_out(made_bundle: Path) -> None:
    """The list of a real engine with one Conv changed as if the compiler had dequantized its data."""
    expected, message = built(made_bundle / "int8-tensorrt.onnx")
    layers = parse_log(message)
    index = next(at for at, layer in enumerate(layers) if layer.name.startswith("block2.0.conv2_U"))
    halves = tuple(dataclasses.replace(tensor, type=Arithmetic.FP16) for tensor in layers[index].inputs)
    layers[index] = dataclasses.replace(layers[index], inputs=halves)
    proof = prove(expected, layers, Source.LOG)
    assert proof.higher_precision == (HigherPrecision("block2.0.conv2", Arithmetic.INT8, Arithmetic.FP16),)
    assert proof.shares["fp16"] > proof.expected["fp16"]
    with pytest.raises(
        GateError, match=r"In more bits than expected: block2\.0\.conv2 \(fp16 instead of int8\)\. No plan"
    ):
        check_precision(proof, "int8-tensorrt.onnx")


@needs_rtx
def test_an_engine_of_another_graph_is_found_out(made_bundle: Path) -> None:
    """The fp16 engine does not pass for the int8 one."""
    _, message = built(made_bundle / "fp16.onnx")
    expected = expected_precisions(ir.load(made_bundle / "int8-tensorrt.onnx"))
    proof = prove(expected, parse_log(message), Source.LOG)
    assert proof.shares == {"fp16": 1.0}
    assert len(proof.higher_precision) == len(expected) - 1  # all but the classifier
    with pytest.raises(GateError, match=r"0\.0 % of the MACs in int8 .* and 4 more"):
        check_precision(proof, "int8-tensorrt.onnx")


@pytest.mark.parametrize("record", [TENSORRT_10, TENSORRT_11])
def test_both_formats_of_the_inspector_prove_an_int8_conv(record: dict[str, object]) -> None:
    proof = prove([CONV1], parse_json(json.dumps(record)), Source.INSPECTOR)
    assert (proof.source, proof.shares, proof.higher_precision) == (Source.INSPECTOR, {"int8": 1.0}, ())
    assert proof.reformats == len(parse_json(json.dumps(record))) - 1


@pytest.mark.parametrize(
    ("record", "key", "text"),
    [
        (TENSORRT_10, "Format/Datatype", "Channel major FP16 format where channel % 8 == 0"),
        (TENSORRT_11, "DataType", "Half"),
    ],
)
def test_both_formats_show_an_int8_conv_that_is_fed_halves(record: dict[str, object], key: str, text: str) -> None:
    changed = json.loads(json.dumps(record))
    changed["Layers"][-1]["Inputs"][0][key] = text
    proof = prove([CONV1], parse_json(json.dumps(changed)), Source.INSPECTOR)
    assert proof.higher_precision == (HigherPrecision("conv1", Arithmetic.INT8, Arithmetic.FP16),)


def layer(name: str, kind: str, reads: str, weights: str, onnx: tuple[str, ...] = ("conv1",)) -> EngineLayer:
    inputs = (EngineTensor("x", Arithmetic(reads), 100),)
    fixed = (EngineTensor("w", Arithmetic(weights), 4608), EngineTensor("b", Arithmetic.FP32, 16))
    return EngineLayer(name=name, kind=kind, inputs=inputs, weights=fixed, outputs=(), tactic="", onnx=onnx)


@pytest.mark.parametrize(
    ("reads", "weights", "wanted"),
    [
        ("int8", "int8", "int8"),
        ("fp16", "int8", "fp16"),  # weights are stored in int8, and dequantized
        ("fp32", "int8", "fp32"),
        ("fp8", "fp8", "fp8"),
        ("bf16", "bf16", "bf16"),
        ("fp32", "fp16", "fp16"),  # the kernel casts its data
        ("fp32", "fp32", "fp32"),
    ],
)
def test_what_goes_in_decides(reads: str, weights: str, wanted: str) -> None:
    assert computed_in(CONV1, [layer("conv1_myl0_1", "correlation", reads, weights)]) == wanted


def test_a_kernel_of_several_layers_is_found_by_what_went_into_it() -> None:
    fused = layer("__myl_CorrMulAddRelu_myl0_19", "runtime_fusion", "fp16", "fp16", ("conv1", "add", "bn.mul"))
    before = layer("__myl_CastMul_myl0_1", "kgen", "fp32", "fp32", ("images.q", "conv1"))
    assert computed_in(CONV1, [before, fused]) == "fp16"


def test_the_widest_of_several_kernels_counts() -> None:
    kernels = [layer("conv1", "CaskConvolution", kind, kind) for kind in ("int8", "fp32", "fp16")]
    assert computed_in(CONV1, kernels) == "fp32"


def test_a_kernel_of_an_unknown_kind_counts_if_it_has_the_weights() -> None:
    assert computed_in(CONV1, [layer("whatever", "new_kind", "int8", "int8")]) == "int8"
    scales = dataclasses.replace(layer("scale", "new_kind", "int8", "int8"), weights=())
    assert computed_in(CONV1, [scales]) == "unknown"


def test_names_that_begin_alike_are_not_mixed_up() -> None:
    other = layer("conv10_U3_myl0_1", "correlation", "fp32", "fp32", ("conv10",))
    assert computed_in(CONV1, [other]) == "unknown"


def test_a_layer_that_is_not_found_is_reported_as_unknown_and_is_not_a_failure() -> None:
    second = ExpectedPrecision(name="conv2", macs=3000, weights=4608, arithmetic=Arithmetic.INT8)
    proof = prove([CONV1, second], [layer("conv1_myl0_1", "correlation", "int8", "int8")], Source.LOG)
    assert (proof.unknown, proof.higher_precision) == (("conv2",), ())
    assert proof.shares == {"int8": 0.25, "unknown": 0.75}
    check_precision(proof, "graph.onnx")


def test_a_list_in_which_nothing_is_found_proves_nothing() -> None:
    names = parse_json('{"Layers": ["a", "b"]}')
    proof = prove([CONV1], names, Source.INSPECTOR)
    assert proof == unproved([CONV1])
    assert (proof.source, proof.layers, proof.shares) == (Source.GRAPH, None, {"int8": 1.0})


def test_fewer_bits_than_asked_for_are_not_a_failure() -> None:
    halves = dataclasses.replace(CONV1, arithmetic=Arithmetic.FP16)
    proof = prove([halves], [layer("conv1", "CaskConvolution", "int8", "int8")], Source.LOG)
    assert (proof.shares, proof.higher_precision) == ({"int8": 1.0}, ())


def test_what_the_manifest_keeps() -> None:
    record = json.loads(json.dumps(prove([CONV1], parse_json(json.dumps(TENSORRT_10)), Source.INSPECTOR).to_json()))
    assert record == {
        "source": "inspector",
        "shares": {"int8": 1.0},
        "expected": {"int8": 1.0},
        "layers": 2,
        "reformats": 1,
        "higher_precision": [],
        "unknown": [],
    }
