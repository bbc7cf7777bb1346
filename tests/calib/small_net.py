"""A small bottleneck network whose arithmetic is exact in float32: weights, biases and scales are powers of two."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from tests.calib.graphs import plain_table
from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange

__all__ = ["SIZE", "STEP", "UNIT", "UNSHIFTED", "images", "small_net", "table_of"]

SIZE = 32
STREAM = ("layer1.0.add.relu", "layer1.1.add.relu")
SMALL = {
    "conv1.relu", "maxpool", "layer1.0.conv1.relu", "layer1.0.conv2.relu", "layer1.1.conv2.relu",
    "layer1.2.conv2.relu", *STREAM,
}  # fmt: skip
UNIT = 2.0**-7  # of a weight
STEP = 2.0**-6  # of an activation's code
BIAS = 2.0**-12
UNSHIFTED = ("layer1.1.conv1.relu", "layer1.2.conv1.relu")  # ReLU's outputs that padded Convs of 32 channels read


class _Builder:
    """Names nodes, tensors and parameters as the exporter does."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values: list[onnx.ValueInfoProto] = []

    def node(self, name: str, op_type: str, inputs: list[str], shape: list[int], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        self.values.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape]))
        return name

    def constant(self, name: str, values: npt.NDArray[np.floating]) -> str:
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, name: str, source: str, shape: tuple[int, int, int], size: int, stride: int = 1) -> str:
        outputs, inputs, kernel = shape
        gain = 0.2 if "downsample" in name else 1.2
        weights = self.random.normal(size=(outputs, inputs, kernel, kernel)) * np.sqrt(gain / (inputs * kernel**2))
        if kernel > 1:  # small sums, so that few constant channels undo a shift
            weights -= 0.95 * weights.mean(axis=1, keepdims=True)
        codes = np.rint(weights / UNIT).clip(-120, 120)
        bias = np.rint(self.random.normal(0.0, 0.2, outputs) / BIAS) * BIAS
        names = [self.constant(f"{name}.weight", codes * UNIT), self.constant(f"{name}.bias", bias)]
        pads = [kernel // 2] * 4
        return self.node(
            name, "Conv", [source, *names], [outputs, size, size], kernel_shape=[kernel] * 2, pads=pads,
            strides=[stride] * 2,
        )  # fmt: skip

    def relu(self, source: str, channels: int, size: int) -> str:
        return self.node(f"{source}.relu", "Relu", [source], [channels, size, size])

    def block(self, name: str, source: str, inputs: int, width: int, size: int) -> str:
        outputs = 32
        first = self.relu(self.conv(f"{name}.conv1", source, (width, inputs, 1), size), width, size)
        second = self.relu(self.conv(f"{name}.conv2", first, (width, width, 3), size), width, size)
        last = self.conv(f"{name}.conv3", second, (outputs, width, 1), size)
        skip = source
        if inputs != outputs:
            skip = self.conv(f"{name}.downsample.0", source, (outputs, inputs, 1), size)
        return self.relu(self.node(f"{name}.add", "Add", [last, skip], [outputs, size, size]), outputs, size)


def small_net() -> ir.Model:
    """A ResNet: stem with MaxPool, a block of 24 channels with a Conv in its skip, two of 32 with identities."""
    made = _Builder()
    stem = made.relu(made.conv("conv1", "images", (8, 3, 7), SIZE // 2, 2), 8, SIZE // 2)
    size = SIZE // 4
    value = made.node(
        "maxpool", "MaxPool", [stem], [8, size, size], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    value = made.block("layer1.0", value, 8, 24, size)
    value = made.block("layer1.1", value, 32, 32, size)
    value = made.block("layer1.2", value, 32, 32, size)
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    pooled = made.node("pooled", "ReduceMean", [value, "axes"], [32], keepdims=0)
    weights = made.constant("fc.weight", made.random.normal(size=(5, 32)))
    bias = made.constant("fc.bias", made.random.normal(size=5))
    made.node("logits", "Gemm", [pooled, weights, bias], [5], transB=1)
    made.nodes[-1].name = "fc"
    source = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    output = made.values.pop()
    graph = helper.make_graph(
        made.nodes, "net", [source], [output], [*made.constants, axes], value_info=made.values
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return ir.from_proto(model)


def images(count: int) -> npt.NDArray[np.float32]:
    """Images whose values are codes of the table's scale."""
    normal = np.random.default_rng(1).normal(size=(count, 3, SIZE, SIZE))
    codes: npt.NDArray[np.float32] = (np.rint(normal / STEP).clip(-127, 127) * STEP).astype(np.float32)
    return codes


def table_of(model: ir.Model) -> CalibrationTable:
    """One step everywhere: behind a ReLU for 255 codes, elsewhere for 127 on either side; two steps in UNSHIFTED."""
    table = plain_table(model.graph)
    tensors = {}
    for name, found in table.tensors.items():
        amax = STEP * (254.0 if name in UNSHIFTED else 255.0 if found.low == 0.0 else 127.0)
        low = 0.0 if found.low == 0.0 else -amax
        tensors[name] = TensorRange(low=low, high=amax, amax=amax, clipped=0.0)
    return dataclasses.replace(table, tensors=tensors)
