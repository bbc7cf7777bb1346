"""Translates one node each: the operators of convolutional classifiers, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from wrn_deploy.export.foreign import shapes
from wrn_deploy.export.foreign.build import Builder
from wrn_deploy.export.foreign.reading import Inputs, Operator, axes_of, constant_input, refusal, tensor_input
from wrn_deploy.export.foreign.tensors import Array, Tensor, aligned, per_channel
from wrn_deploy.export.foreign.windows import read_window
from wrn_deploy.graph import input_of, name_of, value_name

__all__ = ["OPERATORS"]

EPSILON = 1e-5  # ONNX's default for BN
LARGEST = float(np.finfo(np.float32).max)


def _image(builder: Builder, node: ir.Node, inputs: Inputs, index: int = 0) -> Tensor:
    """An input as an image with its channels first in the foreign graph too; its pads may be open."""
    found = tensor_input(node, inputs, index)
    found = builder.plain(found) if found.last else found
    if len(found.shape) != 3:
        raise refusal(node, f"reads a tensor of {len(found.shape) + 1} axes", "images (batch, channels, height, width)")
    return found


def _conv(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read = _image(builder, node, inputs)
    weights, bias = constant_input(node, inputs, 1), constant_input(node, inputs, 2)
    group = node.attributes.get_int("group", 1)
    channels, height, width = read.shape
    if weights is None or weights.ndim != 4 or weights.shape[1] * group != channels:
        shape = None if weights is None else weights.shape
        raise refusal(node, f"has weights of shape {shape} for {channels} channels", "those of a 2-D convolution")
    window = read_window(node, weights.shape[2:], (height, width), read.pads)
    return builder.add_layer(
        "Conv",
        read,
        {**window.attributes(), "group": group},
        (len(weights), *window.sizes(height, width)),
        name=_layer_name(node),
        weights=weights,
        bias=bias,
    )


def _layer_name(node: ir.Node) -> str:
    """That of its weights, if the exporter kept the network's names; else the node's own.

    torch's older exporter calls a node after all modules around it: "/body/body.0/conv1/Conv" is "body.0.conv1".
    """
    weights = value_name(input_of(node, 1))
    if weights.endswith(".weight"):
        return weights
    parts = [part for part in name_of(node).split("/") if part]
    if len(parts) > 1 and parts[-1] == node.op_type:
        parts.pop()
    pairs = zip(parts, [*parts[1:], ""], strict=True)
    return ".".join(part for part, inner in pairs if not inner.startswith(f"{part}."))


def _pool(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read = _image(builder, node, inputs)
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise refusal(node, "has its places read", "a pooling whose values alone are read")
    before = read.value.producer()
    counts_zeros = node.op_type == "AveragePool" and node.attributes.get_int("count_include_pad", 0) == 1
    positive = node.op_type == "MaxPool" and before is not None and before.op_type == "Relu"
    if not (counts_zeros or positive):  # zeros around the image would not be what its own padding is
        read = builder.padded(read)
    channels, height, width = read.shape
    window = read_window(node, node.attributes.get_ints("kernel_shape", []), (height, width), read.pads)
    if any(pad >= size for pad, size in zip(window.pads, window.kernel * 2, strict=True)):
        read = builder.padded(read)
        channels, height, width = read.shape
        window = read_window(node, window.kernel, (height, width), read.pads)
    attributes: dict[str, object] = {**window.attributes(), "ceil_mode": int(window.up)}
    if node.op_type == "AveragePool":
        attributes["count_include_pad"] = int(counts_zeros)
    return builder.add(node.op_type, [read.value], attributes, (channels, *window.sizes(height, width)))


def _global_pool(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read = builder.padded(_image(builder, node, inputs))
    return builder.add(node.op_type, [read.value], {}, (read.shape[0], 1, 1))


def _mean(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """The mean over height and width, as a global pooling."""
    read = builder.padded(tensor_input(node, inputs))
    axes = axes_of(node, inputs)
    rank = len(read.shape) + 1
    wanted = [1, 2] if read.last else [2, 3]
    if rank != 4 or sorted(axis % rank for axis in axes) != wanted:
        raise refusal(node, f"is over the axes {[*axes]}", "a mean over height and width")
    pooled = builder.add("GlobalAveragePool", [read.value], {}, (read.shape[0], 1, 1))
    if node.attributes.get_int("keepdims", 1):
        return dataclasses.replace(pooled, last=read.last)
    return shapes.flattened(builder, pooled)


def _gemm(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read, weights = tensor_input(node, inputs), constant_input(node, inputs, 1)
    bias = constant_input(node, inputs, 2)
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    if weights is None or weights.ndim != 2 or len(read.shape) != 1 or node.attributes.get_int("transA", 0) == 1:
        raise refusal(node, f"multiplies {read.foreign_shape}", "features (batch, N) by a matrix")
    matrix = (weights if transposed else weights.T) * (alpha if node.op_type == "Gemm" else 1.0)
    if matrix.shape[1] != read.shape[0]:
        raise refusal(node, f"multiplies {read.shape[0]} features by {matrix.shape[::-1]}", "a matrix that fits")
    added = None if bias is None else np.broadcast_to(bias.ravel() * beta, (len(matrix),))
    return builder.add_layer(
        "Gemm", read, {"transB": 1}, (len(matrix),), name=_layer_name(node), weights=matrix, bias=added
    )


def _norm(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read = tensor_input(node, inputs)
    read = builder.plain(read) if read.last else builder.padded(read)
    gamma, beta, mean, variance = (constant_input(node, inputs, index) for index in range(1, 5))
    if gamma is None or beta is None or mean is None or variance is None or len(gamma) != read.shape[0]:
        raise refusal(node, f"does not fit {read.foreign_shape}", "one number a channel")
    if node.attributes.get_int("training_mode", 0):
        raise refusal(node, "is in training mode", "a network in inference mode")
    epsilon = node.attributes.get_float("epsilon", EPSILON)
    layer = builder.layer_of(read)
    if layer is None:
        return builder.add_norm(read, {"epsilon": epsilon}, (gamma, beta, mean, variance), name_of(node))
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    layer.scale_and_shift(scale, beta - mean * scale)
    return read


def _binary(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    first, second = inputs
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _of_two(builder, node, first, second)
    tensor, constant, left = (first, second, True) if isinstance(first, Tensor) else (second, first, False)
    if not isinstance(tensor, Tensor) or constant is None or isinstance(constant, Tensor):
        raise refusal(node, "has no input that depends on the image", "one")
    tensor = builder.padded(tensor)
    numbers, layer = per_channel(constant, tensor), builder.layer_of(tensor)
    if numbers is not None and layer is not None and _absorb(layer.scale_and_shift, node.op_type, numbers, left=left):
        return tensor
    other = aligned(constant, tensor)
    if np.broadcast_shapes((1, *tensor.shape), other.shape) != (1, *tensor.shape):
        raise refusal(node, f"makes {tensor.foreign_shape} larger by {constant.shape}", "a constant that fits")
    value = builder.constant("constant", other)
    made = builder.add(node.op_type, [tensor.value, value] if left else [value, tensor.value], {}, tensor.shape)
    return dataclasses.replace(made, last=tensor.last)


def _absorb(scale_and_shift: Callable[..., None], op_type: str, numbers: Array, *, left: bool) -> bool:
    """Makes the layer before do the operation; whether it can."""
    if op_type == "Add":
        scale_and_shift(1.0, numbers)
    elif op_type == "Sub":
        scale_and_shift(1.0 if left else -1.0, -numbers if left else numbers)
    elif op_type == "Mul":
        scale_and_shift(numbers, 0.0)
    elif op_type == "Div" and left and (numbers != 0).all():
        scale_and_shift(1.0 / numbers, 0.0)
    else:
        return False
    return True


def _of_two(builder: Builder, node: ir.Node, first: Tensor, second: Tensor) -> Tensor:
    first, second = builder.padded(first), builder.padded(second)
    if first.last != second.last:
        first, second = builder.plain(first), builder.plain(second)
    if len(first.shape) != len(second.shape):
        raise refusal(node, f"has inputs {first.foreign_shape} and {second.foreign_shape}", "two of one rank")
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError as error:
        raise refusal(node, f"has inputs {first.foreign_shape} and {second.foreign_shape}", "two that fit") from error
    made = builder.add(node.op_type, [first.value, second.value], {}, shape)
    return dataclasses.replace(made, last=first.last)


def _clip(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read = builder.padded(tensor_input(node, inputs))
    limits = []
    for index, name, default in ((1, "min", -LARGEST), (2, "max", LARGEST)):
        given = constant_input(node, inputs, index)
        limits.append(node.attributes.get_float(name, default) if given is None else float(given.ravel()[0]))
    if limits[0] == 0.0 and limits[1] >= LARGEST:
        made = builder.add("Relu", [read.value], {}, read.shape)
    else:
        values = [
            builder.constant(name, np.asarray(limit, np.float32))
            for name, limit in zip(("min", "max"), limits, strict=True)
        ]
        made = builder.add("Clip", [read.value, *values], {}, read.shape)
    return dataclasses.replace(made, last=read.last)


def _unary(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    read = builder.padded(tensor_input(node, inputs))
    attributes = {name: attribute.value for name, attribute in node.attributes.items() if name in ("alpha", "beta")}
    made = builder.add(node.op_type, [read.value], attributes, read.shape)
    return dataclasses.replace(made, last=read.last)


def _same(_builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Hands its input on: Identity, Dropout that is off, a Cast to the type that it has."""
    wanted = node.attributes.get_int("to", ir.DataType.FLOAT)
    mode = inputs[2] if node.op_type == "Dropout" and len(inputs) > 2 else None
    if wanted != ir.DataType.FLOAT or (mode is not None and bool(np.asarray(mode).any())):
        raise refusal(node, "changes its input", "float32 throughout, and inference mode")
    return tensor_input(node, inputs)


OPERATORS: Mapping[str, Operator] = {
    **dict.fromkeys(("Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"), _unary),
    **dict.fromkeys(("Add", "Div", "Max", "Min", "Mul", "Sub"), _binary),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("Cast", "Dropout", "Identity"), _same),
    **dict.fromkeys(("Gemm", "MatMul"), _gemm),
    "BatchNormalization": _norm, "Clip": _clip, "Conv": _conv, "ReduceMean": _mean,
    "Concat": shapes.concat, "Flatten": shapes.flatten, "Pad": shapes.pad, "Reshape": shapes.reshape,
    "Squeeze": shapes.squeeze, "Transpose": shapes.transpose, "Unsqueeze": shapes.unsqueeze,
}  # fmt: skip
