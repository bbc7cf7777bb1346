"""Runs a Q/DQ graph in PyTorch, in float32 and differentiably; no ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.nn import functional

from wrn_deploy.errors import DeployError

__all__ = ["OPERATORS", "Inputs", "Step", "TorchGraph", "round_through"]

Attributes = Mapping[str, Any]
Inputs = list[torch.Tensor | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One node: names of its inputs ("" for none) and of its output, and the values that no later node needs."""

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
        self.source, self.result = graph.inputs[0].name or "", graph.outputs[0].name or ""
        self.constants = {name: _tensor(value) for name, value in graph.initializers.items()}
        self.steps: list[Step] = []
        last = {value.name: index for index, node in enumerate(graph) for value in node.inputs if value is not None}
        for index, node in enumerate(graph):
            if node.op_type not in OPERATORS:
                raise DeployError(f"{node.name} is a {node.op_type}: expected one of {', '.join(sorted(OPERATORS))}")
            names = tuple((value.name or "") if value is not None else "" for value in node.inputs)
            attributes = {name: attribute.value for name, attribute in node.attributes.items()}
            done = tuple(name for name in dict.fromkeys(names) if last.get(name) == index)
            self.steps.append(Step(node.op_type, node.name or "", names, node.outputs[0].name or "", attributes, done))

    def run(
        self,
        images: torch.Tensor,
        constants: Mapping[str, torch.Tensor] | None = None,
        before: Callable[[Step, Inputs], Inputs] | None = None,
    ) -> torch.Tensor:
        """The logits (N, classes) of normalised images (N, 3, H, W).

        Args:
            images: float32.
            constants: replace some of the graph's own.
            before: called with each step and its inputs; returns the inputs to use.
        """
        values: dict[str, torch.Tensor] = {**self.constants, **(constants or {}), self.source: images}
        for step in self.steps:
            inputs: Inputs = [values[name] if name else None for name in step.inputs]
            if before is not None:
                inputs = before(step, inputs)
            output = OPERATORS[step.op_type](inputs, step.attributes)
            for name in step.last_uses:
                values.pop(name, None)
            values[step.output] = output
        return values[self.result]


class _RoundThrough(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, values: torch.Tensor) -> torch.Tensor:
        return torch.round(values)

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


def round_through(values: torch.Tensor) -> torch.Tensor:
    """Rounds, ties to even; its gradient is 1 (straight-through, Bengio et al., arXiv:1308.3432)."""
    rounded: torch.Tensor = _RoundThrough.apply(values)  # type: ignore[no-untyped-call]
    return rounded


def _tensor(value: ir.Value) -> torch.Tensor:
    assert value.const_value is not None
    values = value.const_value.numpy()
    return torch.from_numpy(values.astype(np.float32) if values.dtype == np.float16 else values.copy())


def _given(inputs: Inputs, index: int) -> torch.Tensor:
    value = inputs[index]
    assert value is not None
    return value


def _conv(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    bias = inputs[2] if len(inputs) > 2 else None
    strides, groups = list(attributes.get("strides", [1, 1])), int(attributes.get("group", 1))
    if pads[:2] != pads[2:]:
        padded = functional.pad(_given(inputs, 0), (pads[1], pads[3], pads[0], pads[2]))
        return functional.conv2d(padded, _given(inputs, 1), bias, strides, groups=groups)
    return functional.conv2d(_given(inputs, 0), _given(inputs, 1), bias, strides, pads[:2], groups=groups)


def _max_pool(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    kernel, strides, pads = _window(attributes)
    ceil = bool(attributes.get("ceil_mode", 0))
    pooled: torch.Tensor = functional.max_pool2d(_given(inputs, 0), kernel, strides, pads, ceil_mode=ceil)
    return pooled


def _average_pool(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    kernel, strides, pads = _window(attributes)
    return functional.avg_pool2d(
        _given(inputs, 0),
        kernel,
        strides,
        pads,
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _window(attributes: Attributes) -> tuple[list[int], list[int], list[int]]:
    """Size, strides and padding of a pooling; the padding is the same on both sides."""
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    return list(attributes["kernel_shape"]), list(attributes.get("strides", [1, 1])), pads[:2]


def _batch_norm(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    values, gamma, beta, mean, variance = (_given(inputs, index) for index in range(5))
    return functional.batch_norm(values, mean, variance, gamma, beta, eps=attributes.get("epsilon", 1e-5))


def _mean(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    axes = [int(axis) for axis in _given(inputs, 1)]
    return _given(inputs, 0).mean(axes, keepdim=bool(attributes.get("keepdims", 1)))


def _sum(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    axes = [int(axis) for axis in _given(inputs, 1)]
    return _given(inputs, 0).sum(axes, keepdim=bool(attributes.get("keepdims", 1)))


def _pad(inputs: Inputs, _attributes: Attributes) -> torch.Tensor:
    pads = [int(pad) for pad in _given(inputs, 1)]
    half = len(pads) // 2
    pairs = [pad for axis in reversed(range(half)) for pad in (pads[axis], pads[axis + half])]
    return functional.pad(_given(inputs, 0), pairs, value=float(_given(inputs, 2)))


def _space_to_depth(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    """Channels ordered by row, column, channel, as in ONNX; `pixel_unshuffle` orders them differently."""
    values, size = _given(inputs, 0), int(attributes["blocksize"])
    count, channels, height, width = values.shape
    blocks = values.reshape(count, channels, height // size, size, width // size, size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(count, channels * size**2, height // size, width // size)


def _gemm(inputs: Inputs, _attributes: Attributes) -> torch.Tensor:
    return functional.linear(_given(inputs, 0), _given(inputs, 1), inputs[2] if len(inputs) > 2 else None)


def _quantize(inputs: Inputs, _attributes: Attributes) -> torch.Tensor:
    """Codes as float32, so that they have a gradient; values outside the range are clipped, and their gradient is 0."""
    values, scale, zero_point = (_given(inputs, index) for index in range(3))
    limits = torch.iinfo(zero_point.dtype)
    return torch.clamp(round_through(values / scale) + zero_point, limits.min, limits.max)


def _dequantize(inputs: Inputs, attributes: Attributes) -> torch.Tensor:
    codes, scale, zero_point = (_given(inputs, index) for index in range(3))
    if scale.ndim == 1:
        shape = [1] * codes.ndim
        shape[attributes.get("axis", 1)] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return (codes.float() - zero_point.float()) * scale


OPERATORS: dict[str, Callable[[Inputs, Attributes], torch.Tensor]] = {
    "Add": lambda inputs, _: _given(inputs, 0) + _given(inputs, 1),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": lambda inputs, _: _given(inputs, 0),
    "Clip": lambda inputs, _: torch.clamp(_given(inputs, 0), *inputs[1:3]),
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Gemm": _gemm,
    "MatMul": lambda inputs, _: _given(inputs, 0) @ _given(inputs, 1),
    "MaxPool": _max_pool,
    "Mul": lambda inputs, _: _given(inputs, 0) * _given(inputs, 1),
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reciprocal": lambda inputs, _: 1.0 / _given(inputs, 0),
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "Relu": lambda inputs, _: functional.relu(_given(inputs, 0)),
    "Reshape": lambda inputs, _: _given(inputs, 0).reshape([int(size) for size in _given(inputs, 1)]),
    "SpaceToDepth": _space_to_depth,
    "Sqrt": lambda inputs, _: torch.sqrt(_given(inputs, 0)),
    "Sub": lambda inputs, _: _given(inputs, 0) - _given(inputs, 1),
}
