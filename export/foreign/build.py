"""The new graph while a foreign one is translated: its nodes, and the layers whose weights may still change."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.export.foreign.tensors import Array, Tensor
from wrn_deploy.export.graph import OPSET, tidy

__all__ = ["Builder", "Layer"]

IR_VERSION = 10
RESERVED = re.compile(r"(interface\.|pixels).*|.*\.shifted")  # names that steps give their own nodes

Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Layer:
    """A Conv or Gemm of the new graph: its weights (O, ...) and its bias (O,) until the graph is finished."""

    node: ir.Node
    weights: Floats
    bias: Floats

    def scale_and_shift(self, scale: Floats | float, shift: Floats | float) -> None:
        """Makes it compute its outputs times `scale` plus `shift`, one number an output."""
        factors = np.broadcast_to(np.asarray(scale, dtype=np.float64), self.bias.shape)
        self.weights = self.weights * factors.reshape(-1, *[1] * (self.weights.ndim - 1))
        self.bias = self.bias * factors + shift


class Builder:
    """Adds nodes in order; finishes with all weights as initializers and names that follow the weights'."""

    def __init__(self, shape: tuple[int, int, int], batch: int | None) -> None:
        self.batch = batch  # the foreign graph's own, if it is fixed
        self.image = ir.Value(name="images", type=ir.TensorType(ir.DataType.FLOAT), shape=_with_batch(shape))
        self._nodes: list[ir.Node] = []
        self._layers: dict[ir.Value, Layer] = {}
        self._constants: list[ir.Value] = []
        self._names: set[str] = set()

    def add(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any], shape: tuple[int, ...]
    ) -> Tensor:
        """A node with one output of this shape, without the batch."""
        node = ir.node(op_type, inputs, attributes)
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), _with_batch(shape)
        self._nodes.append(node)
        return Tensor(node.outputs[0], shape)

    def add_layer(
        self,
        op_type: str,
        read: Tensor,
        attributes: dict[str, Any],
        shape: tuple[int, ...],
        *,
        name: str,
        weights: Array,
        bias: Array | None,
    ) -> Tensor:
        """A Conv or Gemm; `name` is what the foreign graph calls it, or its weights."""
        own = self._layer_name(name, op_type)
        made = self.add(
            op_type, [read.value, self._empty(f"{own}.weight"), self._empty(f"{own}.bias")], attributes, shape
        )
        node = made.value.producer()
        assert node is not None
        zeros = np.zeros(len(weights))
        self._layers[made.value] = Layer(
            node, weights.astype(np.float64), zeros if bias is None else bias.astype(np.float64).ravel()
        )
        return made

    def add_norm(self, read: Tensor, attributes: dict[str, Any], parameters: Sequence[Array], name: str) -> Tensor:
        """A BatchNormalization that no Conv can absorb; parameters in ONNX's order."""
        own = self._layer_name(name, "bn")
        parts = ("weight", "bias", "running_mean", "running_var")
        values = [self.constant(f"{own}.{part}", array) for part, array in zip(parts, parameters, strict=True)]
        return self.add("BatchNormalization", [read.value, *values], attributes, read.shape)

    def layer_of(self, tensor: Tensor) -> Layer | None:
        """The layer that computes the tensor, if it may absorb what follows."""
        return self._layers.get(tensor.value) if tensor.sole else None

    def constant(self, name: str, array: Array) -> ir.Value:
        """An initializer, in float32 if it is a float."""
        values = array.astype(np.float32) if array.dtype.kind == "f" else array
        value = ir.val(self._unused(name), const_value=ir.Tensor(values, name=name))
        self._constants.append(value)
        return value

    def padded(self, tensor: Tensor) -> Tensor:
        """The tensor with its zeros around the image, as a node."""
        if not any(tensor.pads):
            return tensor
        top, left, bottom, right = tensor.pads
        pads = self.constant("pads", np.array([0, 0, top, left, 0, 0, bottom, right], dtype=np.int64))
        channels, height, width = tensor.shape
        made = self.add(
            "Pad", [tensor.value, pads], {"mode": "constant"}, (channels, height + top + bottom, width + left + right)
        )
        return dataclasses.replace(tensor, value=made.value, shape=made.shape, pads=(0, 0, 0, 0))

    def plain(self, tensor: Tensor) -> Tensor:
        """The tensor as the foreign graph has it: padded, and with its channels where they are."""
        tensor = self.padded(tensor)
        if not tensor.last:
            return tensor
        channels, height, width = tensor.shape
        made = self.add("Transpose", [tensor.value], {"perm": [0, 2, 3, 1]}, (height, width, channels))
        return dataclasses.replace(made, last=False)

    def finish(self, logits: Tensor) -> ir.Model:
        """The model images -> logits, named as our own exports are."""
        initializers = list(self._constants)
        for layer in self._layers.values():
            for at, array in ((1, layer.weights), (2, layer.bias)):
                value = layer.node.inputs[at]
                assert value is not None
                value.const_value = ir.Tensor(array.astype(np.float32), name=value.name)
                value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(array.shape)
                initializers.append(value)
        graph = ir.Graph(
            [self.image], [logits.value], nodes=self._nodes, initializers=initializers, opset_imports={"": OPSET}
        )
        for value in list(graph.initializers.values()):
            if not value.uses():
                del graph.initializers[value.name or ""]
        model = tidy(ir.Model(graph, ir_version=IR_VERSION))
        for layer in self._layers.values():  # where `tidy` gave a layer another name, since its own was taken
            for at, part in ((1, "weight"), (2, "bias")):
                _rename(graph, layer.node.inputs[at], f"{layer.node.name}.{part}")
        logits.value.name = "logits"
        return model

    def _empty(self, name: str) -> ir.Value:
        return ir.Value(name=name)

    def _layer_name(self, name: str, op_type: str) -> str:
        plain = re.sub(r"[^\w-]+", ".", name.removesuffix(".weight"), flags=re.ASCII).strip(".")
        if not plain or RESERVED.fullmatch(plain):
            plain = f"layer.{plain or op_type.lower()}"
        return self._unused(plain)

    def _unused(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique


def _with_batch(shape: tuple[int, ...]) -> ir.Shape:
    return ir.Shape([ir.SymbolicDim("batch"), *shape])


def _rename(graph: ir.Graph, value: ir.Value | None, name: str) -> None:
    assert value is not None
    if value.name != name:
        graph.initializers.pop(value.name or "")
        value.name = name
        graph.initializers.add(value)
