"""Runs a Q/DQ graph in PyTorch, in float32 and differentiably; no ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from wrn_deploy.errors import DeployError
from wrn_deploy.graph import array_of, value_name

__all__ = ["OPERATORS", "GraphStep", "Inputs", "TorchGraph", "round_through"]

Attributes = Mapping[str, Any]
Inputs = list[Tensor | None]
Rounding = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStep:
    """One node: names of its inputs ("" if left out) and of its output, and the values that no later node needs."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes
    last_uses: tuple[str, ...]


class TorchGraph:
    """A graph with one input and one output; `constants` are its initializers, floats in float32.

    fp16 graphs run in float32 with their rounded weights and scales: the difference to fp16 arithmetic is far below a
    step of int8.

    Raises:
        DeployError: an operator that no graph of this project has.
    """

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self.source, self.result = value_name(graph.inputs[0]), value_name(graph.outputs[0])
        self.constants = {name: _tensor(value) for name, value in graph.initializers.items()}
        self.steps: list[GraphStep] = []
        last = {value.name: index for index, node in enumerate(graph) for value in node.inputs if value is not None}
        for index, node in enumerate(graph):
            if node.op_type not in OPERATORS:
                raise DeployError(f"{node.name} is a {node.op_type}: expected one of {', '.join(sorted(OPERATORS))}")
            names = tuple(map(value_name, node.inputs))
            step = GraphStep(
                op_type=node.op_type,
                name=node.name or "",
                inputs=names,
                output=value_name(node.outputs[0]),
                attributes={name: attribute.value for name, attribute in node.attributes.items()},
                last_uses=tuple(name for name in dict.fromkeys(names) if last.get(name) == index),
            )
            self.steps.append(step)

    def run(
        self,
        images: Tensor,
        constants: Mapping[str, Tensor] | None = None,
        before: Callable[[GraphStep, Inputs], Inputs] | None = None,
    ) -> Tensor:
        """Returns the logits (N, classes) of normalised float32 images (N, 3, H, W).

        `constants` replace some of the graph's own; `before` gets each step and its inputs, and returns those to use.
        """
        values: dict[str, Tensor] = {**self.constants, **(constants or {}), self.source: images}
        for step in self.steps:
            inputs: Inputs = [values[name] if name else None for name in step.inputs]
            if before is not None:
                inputs = before(step, inputs)
            output = OPERATORS[step.op_type](*inputs, **step.attributes)
            for name in step.last_uses:
                values.pop(name, None)
            values[step.output] = output
        return values[self.result]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, rounding: Rounding, values: Tensor) -> Tensor:
        return rounding(values)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def round_through(values: Tensor, rounding: Rounding = torch.round) -> Tensor:
    """Rounds, by default to integers, ties to even.

    The gradient is 1 (straight-through, Bengio et al., arXiv:1308.3432).
    """
    rounded: Tensor = _StraightThrough.apply(rounding, values)  # type: ignore[no-untyped-call]
    return rounded


def _tensor(value: ir.Value) -> Tensor:
    values = array_of(value)
    return torch.from_numpy(values.astype(np.float32) if values.dtype == np.float16 else values.copy())


# An operator takes the inputs of its ONNX node by position, and the attributes by name.


def _conv(values: Tensor, weights: Tensor, bias: Tensor | None = None, **attributes: Any) -> Tensor:
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        values, top, left = functional.pad(values, (left, right, top, bottom)), 0, 0
    strides, groups = attributes.get("strides", 1), attributes.get("group", 1)
    return functional.conv2d(values, weights, bias, strides, (top, left), groups=groups)


def _window(attributes: Attributes) -> dict[str, Any]:
    """The arguments of a pooling; its padding is the same on both sides."""
    return {
        "kernel_size": attributes["kernel_shape"],
        "stride": attributes.get("strides", 1),
        "padding": attributes.get("pads", (0, 0))[:2],
        "ceil_mode": bool(attributes.get("ceil_mode", 0)),
    }


def _average_pool(values: Tensor, *, count_include_pad: int = 0, **attributes: Any) -> Tensor:
    return functional.avg_pool2d(values, **_window(attributes), count_include_pad=bool(count_include_pad))


def _pad(values: Tensor, pads: Tensor, fill: Tensor, **_: Any) -> Tensor:
    half = len(pads) // 2
    pairs = [int(pad) for axis in reversed(range(half)) for pad in (pads[axis], pads[axis + half])]
    return functional.pad(values, pairs, value=float(fill))


def _space_to_depth(values: Tensor, *, blocksize: int, **_: Any) -> Tensor:
    """Channels ordered by row, column, channel, as in ONNX; `pixel_unshuffle` orders them differently."""
    count, channels, height, width = values.shape
    rows, columns = height // blocksize, width // blocksize
    blocks = values.reshape(count, channels, rows, blocksize, columns, blocksize)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(count, channels * blocksize**2, rows, columns)


def _quantize(values: Tensor, scale: Tensor, zero_point: Tensor, **_: Any) -> Tensor:
    """Codes as float32, so that they have a gradient; values outside the range are clipped, and their gradient is 0."""
    limits = torch.iinfo(zero_point.dtype)
    return torch.clamp(round_through(values / scale) + zero_point, limits.min, limits.max)


def _dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor, *, axis: int = 1, **_: Any) -> Tensor:
    if scale.ndim == 1:
        shape = [1] * codes.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return (codes.float() - zero_point.float()) * scale


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "AveragePool": _average_pool,
    "BatchNormalization": lambda values, gamma, beta, mean, variance, epsilon=1e-5, **_: functional.batch_norm(
        values, mean, variance, gamma, beta, eps=epsilon
    ),
    "Cast": lambda values, **_: values,
    "Clip": torch.clamp,
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Gemm": lambda values, weights, bias=None, **_: functional.linear(values, weights, bias),
    "MatMul": torch.matmul,
    "MaxPool": lambda values, **attributes: functional.max_pool2d(values, **_window(attributes)),
    "Mul": torch.mul,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reciprocal": torch.reciprocal,
    "ReduceMean": lambda values, axes, keepdims=1, **_: values.mean(axes.tolist(), keepdim=bool(keepdims)),
    "ReduceSum": lambda values, axes, keepdims=1, **_: values.sum(axes.tolist(), keepdim=bool(keepdims)),
    "Relu": functional.relu,
    "Reshape": lambda values, shape, **_: values.reshape(shape.tolist()),
    "SpaceToDepth": _space_to_depth,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
}
