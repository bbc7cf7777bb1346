"""Whole graphs: ours lint clean, those of other quantizers show what they lack, and TensorRT-RTX agrees on errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.lint.defects import DEFECTS
from tests.calib.lint.edit import add_node, array_of, found, node_of, quantize, severities, store, unquantize
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.facts import GraphFacts, guess_target, lint_graph
from wrn_deploy.calib.lint.finding import Severity, Target
from wrn_deploy.calib.placement import tensorrt_points
from wrn_deploy.engines.build import build_plan
from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError
from wrn_deploy.progress import Silent

TENSORRT, ONNXRUNTIME = Target.TENSORRT, Target.ONNXRUNTIME
SUMS = ["block1.0.add", "block2.0.add", "block3.0.add"]


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("trained_tensorrt", set()),
        ("bottleneck_tensorrt", set()),
        ("trained_onnxruntime", {"QDQ111", "QDQ505"}),
        ("bottleneck_onnxruntime", {"QDQ505"}),
    ],
)
def test_what_is_written_here_lints_clean(name: str, notes: set[str], request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    assert guess_target(model) == name.partition("_")[2]
    severe = severities(model, guess_target(model))
    assert set(severe) == notes
    assert set(severe.values()) <= {Severity.NOTE}


@pytest.mark.parametrize("target", Target)
def test_a_calibrated_bundle_lints_clean(made_bundle: Path, target: Target) -> None:
    bundle = Bundle.open(made_bundle)
    model = ir.load(bundle.file(bundle.artifacts[f"onnx-int8-{target}"]))
    assert set(severities(model, target).values()) <= {Severity.NOTE}


def test_a_stream_that_is_quantized_once_for_all_users_is_clean(trained_tensorrt: ir.Model) -> None:
    """Another placement for pre-activation networks: BN and the sum read the quantized stream."""
    model = trained_tensorrt.clone()
    quantize(model, "conv1", "block1.0.bn1.mul")
    node_of(model, "block1.0.add").replace_input_with(1, node_of(model, "extra.dq").outputs[0])
    assert found(model, TENSORRT) == {}


def test_quantized_skips_of_a_pre_activation_network_are_no_errors(trained_tensorrt: ir.Model) -> None:
    """As other quantizers place them: that BN reads the stream in float and the sum in int8 is a note."""
    model = trained_tensorrt.clone()
    quantize(model, "conv1", "block1.0.add", index=1)
    assert found(model, TENSORRT) == {"QDQ106": ["extra.q"]}


def test_each_targets_graph_is_wrong_for_the_other(trained_tensorrt: ir.Model, trained_onnxruntime: ir.Model) -> None:
    assert {"QDQ501", "QDQ502"} <= set(found(trained_tensorrt, ONNXRUNTIME))
    assert {"QDQ205", "QDQ206", "QDQ303", "QDQ402"} <= set(found(trained_onnxruntime, TENSORRT))


def test_the_wrong_input_of_a_sum_is_quantized(bottleneck_tensorrt: ir.Model) -> None:
    model = bottleneck_tensorrt.clone()
    unquantize(model, "layer1.1.add", 1)
    quantize(model, "layer1.1.conv3", "layer1.1.add")
    [finding] = [finding for finding in lint_graph(model, TENSORRT) if finding.rule.id == "QDQ101"]
    assert finding.place.node == "layer1.1.add"
    assert finding.place.detail == "the Q/DQ are on layer1.1.conv3, the Conv's side"


def test_a_q_that_can_be_moved_in_front_of_a_max_pool_is_as_good(bottleneck_tensorrt: ir.Model) -> None:
    model = bottleneck_tensorrt.clone()
    unquantize(model, "maxpool")
    assert "QDQ104" not in found(model, TENSORRT)


class Images:
    """What quantize_static calibrates on."""

    def __init__(self, images: npt.NDArray[np.float32]) -> None:
        self.batches = iter([{"images": images}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


@pytest.fixture(scope="module")
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # its advice to preprocess goes to the root logger
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def quantized_static(trained_graph: ir.Model, digits: npt.NDArray[np.float32], tmp_path: Path, _quiet: None) -> Any:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    def quantized(activations: str, **extra: Any) -> ir.Model:
        ir.save(trained_graph, tmp_path / "fp32.onnx")
        quantize_static(
            tmp_path / "fp32.onnx",
            tmp_path / "int8.onnx",
            Images(digits),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=getattr(QuantType, activations),
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": activations == "QInt8"},
            **extra,
        )
        return ir.load(tmp_path / "int8.onnx")

    return quantized


def test_quantize_static_quantizes_both_inputs_of_every_sum(quantized_static: Any) -> None:
    model = quantized_static("QInt8")
    assert guess_target(model) is TENSORRT
    nodes = found(model, TENSORRT)
    assert nodes["QDQ103"] == SUMS
    assert "block1.0.conv1_QuantizeLinear" in nodes["QDQ102"], "between a Conv and its ReLU"
    assert nodes["QDQ105"] == ["fc"]
    assert "block1.0.conv1.bias_DequantizeLinear" in nodes["QDQ303"]
    assert nodes["QDQ402"] == [""]
    assert set(nodes) == {"QDQ102", "QDQ103", "QDQ105", "QDQ303", "QDQ402"}


def test_quantize_static_of_convs_alone_misses_the_skips(quantized_static: Any) -> None:
    """Conv outputs are quantized, identity skips are not: there is no option for the other way round."""
    nodes = found(quantized_static("QInt8", op_types_to_quantize=["Conv"]), TENSORRT)
    assert {*nodes.get("QDQ101", []), *nodes.get("QDQ103", [])} == {*SUMS}


def test_quantize_static_with_uint8_is_good_for_onnxruntime_alone(quantized_static: Any) -> None:
    model = quantized_static("QUInt8")
    assert guess_target(model) is ONNXRUNTIME
    assert set(severities(model, ONNXRUNTIME).values()) <= {Severity.NOTE}
    nodes = found(model, TENSORRT)
    assert {"QDQ103", "QDQ205", "QDQ206", "QDQ303"} <= set(nodes)
    assert nodes["QDQ103"] == SUMS


def test_what_model_opt_writes_has_no_errors(trained_graph: ir.Model) -> None:
    """Its form: fp32, a Q/DQ pair for each input, only the skip of a sum, weights in float with Q and DQ."""
    model = trained_graph.clone()
    for count, point in enumerate(tensorrt_points(trained_graph.graph)):
        node = node_of(model, point.node)
        source = node.inputs[point.index]
        assert source is not None
        pairs: list[tuple[int, ir.Value, Any, Any, dict[str, int]]] = []
        pairs.append((point.index, source, np.float32(0.03), np.int8(0), {}))
        if node.op_type == "Conv" and node.inputs[1] is not None:
            channels = len(array_of(trained_graph, node.inputs[1].name or ""))
            steps, zeros = np.full(channels, 0.01, dtype=np.float32), np.zeros(channels, dtype=np.int8)
            pairs.append((1, node.inputs[1], steps, zeros, {"axis": 0}))
        for index, value, scale, zero, axis in pairs:
            name = f"{point.node}.{count}.{index}"
            step, zero_point = store(model, f"{name}.s", scale), store(model, f"{name}.z", zero)
            quantizer = ir.node("QuantizeLinear", [value, step, zero_point], axis, name=f"{name}.q")
            codes = add_node(model, point.node, quantizer, value, ir.DataType.INT8)
            dequantizer = ir.node("DequantizeLinear", [codes, step, zero_point], axis, name=f"{name}.dq")
            node.replace_input_with(index, add_node(model, point.node, dequantizer, value, ir.DataType.FLOAT))
    nodes = found(model, TENSORRT)
    assert set(nodes) == {"QDQ108", "QDQ304", "QDQ402"}
    assert len(nodes["QDQ304"]) == 9
    assert GraphFacts(model).macs_fraction(GraphFacts(model).int8_convs) == 1.0


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("rule", ["QDQ205", "QDQ303", "QDQ201", "QDQ113"])
def test_tensorrt_rtx_refuses_what_is_said_to_be_refused(
    rule: str, trained_tensorrt: ir.Model, made_bundle: Path, tmp_path: Path
) -> None:
    spec, trt = Bundle.open(made_bundle).spec, find_flavor(Flavor.RTX)
    model = trained_tensorrt.clone()
    ir.save(model, tmp_path / "good.onnx")
    assert build_plan(trt, tmp_path / "good.onnx", spec.input, EngineOptions(), Silent()).plan
    DEFECTS[rule].edit(model)
    ir.save(model, tmp_path / "bad.onnx")
    with pytest.raises(DeployError):
        build_plan(trt, tmp_path / "bad.onnx", spec.input, EngineOptions(), Silent())
