"""The operators of our graphs, and of imported ones, in PyTorch: float32 and differentiable; no ONNX Runtime.

An operator takes the inputs of its ONNX node by position, and the attributes by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from wrn_deploy.errors import DeployError

__all__ = ["OPERATORS", "round_through"]

Attributes = Mapping[str, Any]
Rounding = Callable[[Tensor], Tensor]


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


def _conv(values: Tensor, weights: Tensor, bias: Tensor | None = None, **attributes: Any) -> Tensor:
    values, padding = _padded(values, attributes, 0.0)
    strides, dilations = attributes.get("strides", 1), attributes.get("dilations", 1)
    return functional.conv2d(values, weights, bias, strides, padding, dilations, attributes.get("group", 1))


def _padded(values: Tensor, attributes: Attributes, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """The values, and the padding of rows and columns that is left to do: none if the sides differ."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return values, (top, left)
    return functional.pad(values, (left, right, top, bottom), value=fill), (0, 0)


def _max_pool(values: Tensor, **attributes: Any) -> Tensor:
    values, padding = _padded(values, attributes, float("-inf"))
    dilations = attributes.get("dilations", 1)
    pooled: Tensor = functional.max_pool2d(values, **_window(attributes), padding=padding, dilation=dilations)
    return pooled


def _average_pool(values: Tensor, *, count_include_pad: int = 0, **attributes: Any) -> Tensor:
    if max(attributes.get("dilations", (1,))) > 1:
        raise DeployError("an AveragePool has dilations: expected one without")
    given, padding = _padded(values, attributes, 0.0)
    pool = {**_window(attributes), "padding": padding, "count_include_pad": bool(count_include_pad)}
    if given is values or count_include_pad:
        return functional.avg_pool2d(given, **pool)
    counted, _ = _padded(torch.ones_like(values[:1, :1]), attributes, 0.0)
    return functional.avg_pool2d(given, **pool) / functional.avg_pool2d(counted, **pool)


def _window(attributes: Attributes) -> dict[str, Any]:
    """The arguments of a pooling but for its padding."""
    return {
        "kernel_size": attributes["kernel_shape"],
        "stride": attributes.get("strides", 1),
        "ceil_mode": bool(attributes.get("ceil_mode", 0)),
    }


def _pad(values: Tensor, pads: Tensor, fill: Tensor | None = None, **_: Any) -> Tensor:
    half = len(pads) // 2
    pairs = [int(pad) for axis in reversed(range(half)) for pad in (pads[axis], pads[axis + half])]
    return functional.pad(values, pairs, value=0.0 if fill is None else float(fill))


def _reshape(values: Tensor, shape: Tensor, **_: Any) -> Tensor:
    """A size of 0 stands for the one that is there."""
    return values.reshape([values.shape[at] if size == 0 else size for at, size in enumerate(shape.tolist())])


def _space_to_depth(values: Tensor, *, blocksize: int, **_: Any) -> Tensor:
    """Channels ordered by row, column, channel, as in ONNX; `pixel_unshuffle` orders them differently."""
    count, channels, height, width = values.shape
    rows, columns = height // blocksize, width // blocksize
    blocks = values.reshape(count, channels, rows, blocksize, columns, blocksize)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(count, channels * blocksize**2, rows, columns)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "AveragePool": _average_pool,
    "BatchNormalization": lambda values, gamma, beta, mean, variance, epsilon=1e-5, **_: functional.batch_norm(
        values, mean, variance, gamma, beta, eps=epsilon
    ),
    "Cast": lambda values, **_: values,
    "Clip": torch.clamp,
    "Concat": lambda *values, axis: torch.cat(values, axis),
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Div": torch.div,
    "Elu": lambda values, alpha=1.0: functional.elu(values, alpha),
    "Flatten": lambda values, axis=1: values.flatten(axis),
    "Gemm": lambda values, weights, bias=None, **_: functional.linear(values, weights, bias),
    "GlobalAveragePool": lambda values: values.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda values: values.amax((2, 3), keepdim=True),
    "HardSigmoid": lambda values, alpha=0.2, beta=0.5: torch.clamp(alpha * values + beta, 0.0, 1.0),
    "HardSwish": functional.hardswish,
    "LeakyRelu": lambda values, alpha=0.01: functional.leaky_relu(values, alpha),
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "MaxPool": _max_pool,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reciprocal": torch.reciprocal,
    "ReduceMean": lambda values, axes, keepdims=1, **_: values.mean(axes.tolist(), keepdim=bool(keepdims)),
    "ReduceSum": lambda values, axes, keepdims=1, **_: values.sum(axes.tolist(), keepdim=bool(keepdims)),
    "Relu": functional.relu,
    "Reshape": _reshape,
    "Sigmoid": torch.sigmoid,
    "SpaceToDepth": _space_to_depth,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Transpose": lambda values, perm: values.permute(perm),
}
