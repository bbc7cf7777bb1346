"""Graphs as other exporters write them: torch's two, and tf2onnx's layout with Transposes around each Conv."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

__all__ = ["Keras", "Net", "export_torch", "save_graph"]


class Block(nn.Module):
    """A residual block whose second Conv has groups."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider)
        self.conv2, self.bn2 = nn.Conv2d(wider, wider, 3, 1, 1, groups=2, bias=False), nn.BatchNorm2d(wider)
        self.down = nn.Conv2d(channels, wider, 1, stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.bn1(self.conv1(images)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.down(images))


class Net(nn.Module):
    """A small network with what classifiers have: ReLU6, pooling, residual blocks, a gate of channels, `view`."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, 1)
        )
        self.body = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.gate = nn.Conv2d(16, 16, 1)
        self.fc = nn.Linear(16, classes)
        torch.manual_seed(0)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.body(self.stem(images))
        values = values * nn.functional.hardswish(self.gate(values.mean((2, 3), keepdim=True)))
        pooled = nn.functional.adaptive_avg_pool2d(values, 1)
        return self.fc(pooled.view(pooled.size(0), -1))  # type: ignore[no-any-return]


def export_torch(network: nn.Module, file: Path, *, dynamo: bool, dynamic: bool, size: int = 32) -> Path:
    """Exports a network with one of torch's exporters, with a fixed batch of 1 or a dynamic one."""
    images = torch.zeros(2 if dynamic else 1, 3, size, size)
    shapes: dict[str, Any] = {}
    if dynamic and dynamo:
        shapes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    elif dynamic:
        shapes = {"dynamic_axes": {"input": {0: "n"}}}
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network, (images,), str(file), dynamo=dynamo, input_names=["input"], verbose=False, **shapes
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    return file


def save_graph(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, Sequence[int | str]]],
    outputs: Sequence[tuple[str, Sequence[int | str]]],
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 15,
    domains: Sequence[str] = (),
    input_type: int = TensorProto.FLOAT,
) -> Path:
    """Writes a graph of float32 tensors."""
    graph = helper.make_graph(
        [*nodes],
        "graph",
        [helper.make_tensor_value_info(name, input_type, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), file)
    return file


class Keras:
    """Writes a graph as tf2onnx writes one of Keras: channels last, and each Conv and pooling between Transposes."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}

    def node(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node; returns its output."""
        name = f"model/{op_type.lower()}_{len(self.nodes)}/{op_type}:0"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name[:-2], **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Adds a constant; returns its name."""
        name = f"const_{len(self.constants)}"
        self.constants[name] = np.asarray(values)
        return name

    def weights(self, *shape: int) -> str:
        """Random weights."""
        return self.constant(self.random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32))

    def first(self, op_type: str, value: str, *more: str, **attributes: Any) -> str:
        """A node that takes channels first, between two Transposes."""
        before = self.node("Transpose", [value], perm=[0, 3, 1, 2])
        return self.node("Transpose", [self.node(op_type, [before, *more], **attributes)], perm=[0, 2, 3, 1])

    def numbers(self, channels: int, low: float, high: float) -> str:
        """One random number a channel."""
        return self.constant(self.random.uniform(low, high, channels).astype(np.float32))

    def classifier(self, file: Path, *, batch: int | str = "n", classes: int = 7) -> Path:
        """A residual network on images (batch, 32, 32, 3): padded stem, BN, bias, factors, a dense layer, Softmax."""
        pads = self.constant(np.array([0, 2, 2, 0, 0, 2, 2, 0], dtype=np.int64))
        value = self.node("Pad", ["image", pads])
        value = self.first("Conv", value, self.weights(8, 3, 5, 5), strides=[2, 2], auto_pad="VALID")
        value = self.node("Add", [value, self.numbers(8, -1, 1)])
        norm = [self.numbers(8, *limits) for limits in ((0.5, 1.5), (-1, 1), (-1, 1), (0.5, 2))]
        value = self.node("Relu", [self.first("BatchNormalization", value, *norm, epsilon=1e-3)])
        value = self.node("Pad", [value, self.constant(np.array([0, 1, 1, 0, 0, 1, 1, 0], dtype=np.int64))])
        value = self.first("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2])
        skip = value
        value = self.first("Conv", value, self.weights(8, 8, 3, 3), strides=[1, 1], auto_pad="SAME_UPPER")
        value = self.node("Mul", [value, self.numbers(8, 0.5, 1.5)])
        value = self.node("Sub", [value, self.numbers(8, -1, 1)])
        value = self.node("Relu", [self.node("Add", [skip, value])])
        other = self.first("Conv", value, self.weights(4, 8, 1, 1))
        value = self.node("Concat", [value, other], axis=3)
        value = self.node("Mul", [value, self.numbers(12, 0.5, 1.5)])
        value = self.node("ReduceMean", [value], axes=[1, 2], keepdims=1)
        value = self.node("Squeeze", [value, self.constant(np.array([1, 2], dtype=np.int64))])
        value = self.node("MatMul", [value, self.constant(self.random.normal(size=(12, classes)).astype(np.float32))])
        value = self.node("Add", [value, self.numbers(classes, -1, 1)])
        output = self.node("Identity", [self.node("Softmax", [value], axis=-1)])
        inputs = [("image", (batch, 32, 32, 3))]
        return save_graph(file, self.nodes, inputs, [(output, (batch, classes))], self.constants)
