"""For each rule, by id, a defect: the graph without it, the edit that makes it, and the nodes that must be named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tests.calib.lint.edit import (
    add_node,
    array_of,
    change,
    float_weights,
    node_of,
    quantize,
    remove_unused,
    store,
    unquantize,
    value_of,
)

FLOAT, HALF, INT8 = ir.DataType.FLOAT, ir.DataType.FLOAT16, np.int8
CONV = "block1.0.conv2"
RELU = "block1.0.conv1.relu"  # that it reads

Edit = Callable[[ir.Model], None]


@dataclass(frozen=True, slots=True)
class Defect:
    nodes: set[str]
    edit: Edit
    graph: str = "trained_tensorrt"
    clean: Edit = lambda _: None  # what the graph needs first, if our own breaks the rule too


def _pool_read_in_float(model: ir.Model) -> None:
    unquantize(model, "maxpool")
    unquantize(model, "layer1.0.conv1")


def _other_scale(model: ir.Model) -> None:
    quantize(model, "block2.0.bn1.relu", "block2.0.shortcut", scale=0.07)


def _same_scale(model: ir.Model) -> None:
    quantize(model, "block2.0.bn1.relu", "block2.0.shortcut", scale=float(array_of(model, "block2.0.bn1.relu.scale")))


def _float_conv(model: ir.Model) -> None:
    unquantize(model, CONV)
    float_weights(model, CONV)
    remove_unused(model)


def _kept_float_conv(model: ir.Model) -> None:
    _float_conv(model)
    model.metadata_props["wrn_deploy.float_convs"] = json.dumps([CONV])


def _float_weights(model: ir.Model) -> None:
    float_weights(model, CONV)


def _q_without_dq(model: ir.Model) -> None:
    dequantizer = node_of(model, CONV).inputs[0].producer()  # type: ignore[union-attr]
    assert dequantizer is not None
    node_of(model, CONV).replace_input_with(0, dequantizer.inputs[0])


def _scale(value: float) -> Edit:
    return lambda model: change(model, f"{RELU}.scale", np.asarray(value, dtype=np.float16))


def _other_scale_in_dq(model: ir.Model) -> None:
    node_of(model, f"{RELU}.dq").replace_input_with(1, store(model, "other", np.float16(0.07)))


def _zero_point(dtype: type[np.integer], value: int) -> Edit:
    def edit(model: ir.Model) -> None:
        change(model, f"{RELU}.zero_point", np.asarray(value, dtype=dtype))

    return edit


def _channel_activations(model: ir.Model) -> None:
    change(model, f"{RELU}.scale", np.full(16, 0.03, dtype=np.float16))
    change(model, f"{RELU}.zero_point", np.zeros(16, dtype=INT8))


def _computed_scale(model: ir.Model) -> None:
    scale = model.graph.initializers[f"{RELU}.scale"]
    data = node_of(model, f"{RELU}.q").inputs[0]
    node = ir.node("ReduceMax", [data], {"keepdims": 0}, name="computed")
    value = add_node(model, f"{RELU}.q", node, scale, HALF)
    node_of(model, f"{RELU}.q").replace_input_with(1, value)


def _computed_zero_point(model: ir.Model) -> None:
    stored = store(model, "zeros", np.zeros(1, dtype=INT8))
    node = ir.node("Squeeze", [stored], name="squeezed")
    value = add_node(model, f"{RELU}.q", node, model.graph.initializers[f"{RELU}.zero_point"], ir.DataType.INT8)
    node_of(model, f"{RELU}.q").replace_input_with(2, value)


def _moved_codes(model: ir.Model) -> None:
    codes = model.graph.initializers[f"{CONV}.weight.q"]
    node = ir.node("Identity", [codes], name="moved")
    value = add_node(model, f"{CONV}.weight.dq", node, codes, ir.DataType.INT8)
    node_of(model, f"{CONV}.weight.dq").replace_input_with(0, value)


def _reshaped_weights(model: ir.Model) -> None:
    weights = node_of(model, CONV).inputs[1]
    assert weights is not None
    shape = store(model, "shape", np.asarray(array_of(model, f"{CONV}.weight.q").shape))
    value = add_node(model, CONV, ir.node("Reshape", [weights, shape], name="reshaped"), weights, FLOAT)
    node_of(model, CONV).replace_input_with(1, value)


def _weight_axis(model: ir.Model) -> None:
    node_of(model, f"{CONV}.weight.dq").attributes["axis"] = ir.AttrInt64("axis", 1)


def _tensor_weights(model: ir.Model) -> None:
    change(model, f"{CONV}.weight.scale", np.asarray(0.01, dtype=np.float16))
    change(model, f"{CONV}.weight.zero_point", np.asarray(0, dtype=INT8))


def _quantized_bias(model: ir.Model) -> None:
    codes = store(model, "codes", np.ones(16, dtype=np.int32))
    node = ir.node("DequantizeLinear", [codes, store(model, "step", np.float16(0.01))], name="bias.dq")
    conv = node_of(model, "block1.0.conv1")
    conv.replace_input_with(2, add_node(model, "block1.0.conv1", node, codes, HALF))


def _float_weights_stored(model: ir.Model) -> None:
    weights = float_weights(model, CONV)
    scale, zero = (model.graph.initializers[f"{CONV}.weight.{part}"] for part in ("scale", "zero_point"))
    axis = {"axis": 0}
    quantizer = ir.node("QuantizeLinear", [weights, scale, zero], axis, name="weights.q")
    codes = add_node(model, CONV, quantizer, weights, ir.DataType.INT8)
    dequantizer = ir.node("DequantizeLinear", [codes, scale, zero], axis, name="weights.dq")
    node_of(model, CONV).replace_input_with(1, add_node(model, CONV, dequantizer, weights, HALF))
    remove_unused(model)


def _fp32_island(model: ir.Model) -> None:
    value = value_of(model, "bn1.relu")
    for name, kind, dtype in (("up", "Cast", FLOAT), ("island", "Sqrt", FLOAT), ("down", "Cast", HALF)):
        to = {"to": int(dtype)} if kind == "Cast" else {}
        value = add_node(model, "avgpool", ir.node(kind, [value], to, name=name), value, dtype)
    node_of(model, "avgpool").replace_input_with(0, value)


def _fp32_float_part(model: ir.Model) -> None:
    for node in model.graph:
        if node.op_type == "Conv":
            node.outputs[0].type = ir.TensorType(FLOAT)


def _no_qdq(model: ir.Model) -> None:
    for node in list(model.graph):
        if node.op_type in ("Conv", "Add"):
            for index in (0, 1):
                unquantize(model, node.name or "", index)
        if node.op_type == "Conv":
            float_weights(model, node.name or "")
    remove_unused(model)


def _integer_operator(model: ir.Model) -> None:
    node_of(model, CONV).op_type = "ConvInteger"


def _signed_activations(model: ir.Model) -> None:
    for name, value in model.graph.initializers.items():
        if value.dtype is ir.DataType.UINT8:
            change(model, name, np.asarray(0, dtype=INT8))


def _float_bias(model: ir.Model) -> None:
    node_of(model, "block1.0.conv1").replace_input_with(2, store(model, "bias", np.zeros(16, dtype=np.float32)))


def _seven_bits(model: ir.Model) -> None:
    for name in [name for name in model.graph.initializers if name.endswith(".weight.q")]:
        change(model, name, array_of(model, name) // 2)


def _eight_bits(model: ir.Model) -> None:
    change(model, "block1.0.conv1.weight.q", array_of(model, "block1.0.conv1.weight.q") * 2)


DEFECTS = {
    "QDQ101": Defect({"layer1.1.add"}, lambda model: unquantize(model, "layer1.1.add", 1), "bottleneck_tensorrt"),
    "QDQ102": Defect({"extra.q"}, lambda model: quantize(model, "block1.0.conv1", "block1.0.conv1.relu")),
    "QDQ103": Defect(
        {"layer1.0.add"}, lambda model: quantize(model, "layer1.0.conv3", "layer1.0.add"), "bottleneck_tensorrt"
    ),
    "QDQ104": Defect({"maxpool"}, _pool_read_in_float, "bottleneck_tensorrt"),
    "QDQ105": Defect({"fc"}, lambda model: quantize(model, "avgpool", "fc")),
    "QDQ106": Defect(
        {"layer1.0.add.relu.q"}, lambda model: unquantize(model, "layer1.1.add", 1), "bottleneck_tensorrt"
    ),
    "QDQ107": Defect({"extra.q"}, _other_scale),
    "QDQ108": Defect({"extra.q"}, _same_scale),
    "QDQ109": Defect({"extra.q"}, lambda model: quantize(model, "block2.0.bn1.relu.dq", "block2.0.shortcut")),
    "QDQ110": Defect({CONV}, _float_conv),
    "QDQ111": Defect({CONV}, _kept_float_conv),
    "QDQ112": Defect({CONV}, _float_weights),
    "QDQ114": Defect({CONV}, lambda model: unquantize(model, CONV)),
    "QDQ113": Defect({"block1.0.conv1.relu.q"}, _q_without_dq),
    "QDQ201": Defect({f"{RELU}.q", f"{RELU}.dq"}, _scale(0.0)),
    "QDQ202": Defect({f"{RELU}.dq"}, _scale(1e-5)),
    "QDQ203": Defect({f"{RELU}.dq"}, _scale(600.0)),
    "QDQ204": Defect({f"{RELU}.dq"}, _other_scale_in_dq),
    "QDQ205": Defect({f"{RELU}.q", f"{RELU}.dq"}, _zero_point(INT8, 3)),
    "QDQ206": Defect({f"{RELU}.q"}, _zero_point(np.uint8, 0)),
    "QDQ207": Defect({f"{RELU}.q"}, _channel_activations),
    "QDQ208": Defect({f"{RELU}.q"}, _computed_scale),
    "QDQ209": Defect({f"{RELU}.q"}, _computed_zero_point),
    "QDQ301": Defect({CONV}, _weight_axis),
    "QDQ302": Defect({CONV}, _tensor_weights),
    "QDQ303": Defect({"bias.dq"}, _quantized_bias),
    "QDQ304": Defect({"weights.q"}, _float_weights_stored),
    "QDQ305": Defect({f"{CONV}.weight.dq"}, _moved_codes),
    "QDQ401": Defect({"island"}, _fp32_island),
    "QDQ402": Defect({""}, _fp32_float_part),
    "QDQ403": Defect({""}, lambda model: model.opset_imports.update({"": 17})),
    "QDQ404": Defect({""}, _no_qdq),
    "QDQ405": Defect({CONV}, _integer_operator),
    "QDQ501": Defect({""}, _signed_activations, "trained_onnxruntime"),
    "QDQ502": Defect({"block1.0.conv1"}, lambda model: unquantize(model, CONV), "trained_onnxruntime"),
    "QDQ503": Defect({"block1.0.conv1"}, _float_bias, "trained_onnxruntime"),
    "QDQ504": Defect(
        {"layer1.0.add", "layer1.1.add"}, lambda model: unquantize(model, "layer1.1.add", 1), "bottleneck_onnxruntime"
    ),
    "QDQ505": Defect({""}, _eight_bits, "trained_onnxruntime", _seven_bits),
    "QDQ506": Defect({CONV}, _reshaped_weights, "trained_onnxruntime"),
}
