"""Translates nodes that keep all numbers: reshapes, transposes, joins and zeros around an image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir

from wrn_deploy.export.foreign.build import Builder
from wrn_deploy.export.foreign.reading import Inputs, axes_of, constant_input, refusal, tensor_input
from wrn_deploy.export.foreign.tensors import BATCH, Tensor

__all__ = ["concat", "flatten", "flattened", "pad", "reshape", "squeeze", "transpose", "unsqueeze"]


def flattened(builder: Builder, tensor: Tensor) -> Tensor:
    """(batch, C, 1, 1) -> (batch, C) by a Flatten; anything larger by a Reshape, which equalization leaves alone."""
    size = math.prod(tensor.shape)
    if tensor.shape[0] == size:
        return builder.add("Flatten", [tensor.value], {"axis": 1}, (size,))
    return _reshaped(builder, tensor, (size,))


def _reshaped(builder: Builder, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    sizes = builder.constant("sizes", np.array([0, *shape], dtype=np.int64))
    return builder.add("Reshape", [tensor.value, sizes], {}, shape)


def _to_shape(builder: Builder, node: ir.Node, read: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The foreign value in another shape, without the batch."""
    read = builder.padded(read)
    if shape == read.foreign_shape:
        return read
    if len(shape) == 1 and len(read.shape) == 3:
        pointlike = read.shape[1:] == (1, 1)
        return flattened(builder, read if pointlike else builder.plain(read))
    if len(shape) == 3 and sorted(shape)[:2] == [1, 1] and max(shape) == math.prod(read.shape):
        channels = max(shape)
        if shape not in ((channels, 1, 1), (1, 1, channels)):
            raise refusal(node, f"makes {shape} of {read.foreign_shape}", "channels first or last")
        own = (channels, 1, 1)
        made = read if read.shape == own else _reshaped(builder, read, own)
        return dataclasses.replace(made, last=shape != own)
    raise refusal(
        node, f"makes {shape} of {read.foreign_shape}", "a reshape before the classifier, or of pooled features"
    )


def flatten(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Flatten, behind the batch."""
    read = tensor_input(node, inputs)
    if node.attributes.get_int("axis", 1) % (len(read.shape) + 1) != 1:
        raise refusal(node, "does not begin after the batch", "axis 1")
    return _to_shape(builder, node, read, (math.prod(read.foreign_shape),))


def reshape(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Reshape to sizes that keep the batch apart; the batch stays open, whatever the sizes say of it."""
    read = tensor_input(node, inputs)
    given = constant_input(node, inputs, 1)
    assert given is not None
    here = (BATCH, *read.foreign_shape)
    wanted = [here[at] if size == 0 and at < len(here) else size for at, size in enumerate(given.ravel().tolist())]
    total = math.prod(read.foreign_shape)
    first, *rest = wanted or [0]
    if -1 in rest and math.prod(size for size in rest if size != -1) > 0:
        known = math.prod(size for size in rest if size != -1)
        rest = [total // known if size == -1 else size for size in rest]
    if first not in (BATCH, -1, builder.batch) or math.prod(rest) != total or min(rest, default=0) < 1:
        raise refusal(node, f"makes {_shown(given)} of {_shown(here)}", "a shape that keeps the batch apart")
    return _to_shape(builder, node, read, tuple(rest))


def _shown(sizes: object) -> str:
    return str(["batch" if size == BATCH else int(size) for size in np.asarray(sizes).ravel().tolist()])


def squeeze(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Squeeze of axes behind the batch."""
    read = tensor_input(node, inputs)
    axes = axes_of(node, inputs)
    rank, shape = len(read.shape) + 1, read.foreign_shape
    gone = {axis % rank for axis in axes} or {at + 1 for at, size in enumerate(shape) if size == 1}
    if 0 in gone or any(shape[axis - 1] != 1 for axis in gone):
        raise refusal(node, f"takes the axes {sorted(gone)} of {shape}", "axes of size 1 after the batch")
    return _to_shape(builder, node, read, tuple(size for at, size in enumerate(shape) if at + 1 not in gone))


def unsqueeze(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Unsqueeze behind the batch."""
    read = tensor_input(node, inputs)
    axes = axes_of(node, inputs)
    rank = len(read.shape) + 1 + len(axes)
    added, rest = {axis % rank for axis in axes}, iter(read.foreign_shape)
    if 0 in added:
        raise refusal(node, "adds an axis before the batch", "axes after it")
    return _to_shape(builder, node, read, tuple(1 if at in added else next(rest) for at in range(1, rank)))


def transpose(_builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Transpose between channels first and channels last, which only the foreign graph has."""
    read = tensor_input(node, inputs)
    order = [*node.attributes.get_ints("perm", [*range(len(read.shape) + 1)][::-1])]
    if order == sorted(order):
        return read
    if len(read.shape) != 3 or order != ([0, 3, 1, 2] if read.last else [0, 2, 3, 1]):
        raise refusal(node, f"has the order {order}", "one between channels first and channels last")
    return dataclasses.replace(read, last=not read.last)


def concat(builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Concat of channels."""
    read = [builder.padded(tensor_input(node, inputs, index)) for index in range(len(inputs))]
    if len({tensor.last for tensor in read}) > 1:
        read = [builder.plain(tensor) for tensor in read]
    rank, last = len(read[0].shape) + 1, read[0].last
    axis = node.attributes.get_int("axis", 1) % rank
    if axis != (rank - 1 if last else 1) or len({tensor.shape[1:] for tensor in read}) > 1:
        raise refusal(node, f"joins along axis {axis}", "images of one size, along their channels")
    shape = (sum(tensor.shape[0] for tensor in read), *read[0].shape[1:])
    made = builder.add("Concat", [tensor.value for tensor in read], {"axis": 1}, shape)
    return dataclasses.replace(made, last=last)


def pad(_builder: Builder, node: ir.Node, inputs: Inputs) -> Tensor:
    """Zeros around the image, left to the Conv that reads it."""
    read = tensor_input(node, inputs)
    given, value = constant_input(node, inputs, 1), constant_input(node, inputs, 2)
    pads = node.attributes.get_ints("pads", []) if given is None else given.ravel().tolist()
    filled = node.attributes.get_float("value", 0.0) if value is None or not value.size else float(value.ravel()[0])
    rank = len(read.shape) + 1
    rows, columns = (1, 2) if read.last else (2, 3)
    around = {axis + offset for axis in (rows, columns) for offset in (0, rank)}
    fits = rank == 4 and len(pads) == 2 * rank and len(inputs) < 4
    constant = node.attributes.get_string("mode", "constant") == "constant" and filled == 0.0
    if not fits or not constant or min(pads) < 0 or any(pad for at, pad in enumerate(pads) if at not in around):
        raise refusal(node, f"pads by {[*pads]}", "zeros around the image")
    own = (pads[rows], pads[columns], pads[rows + rank], pads[columns + rank])
    top, left, bottom, right = (one + other for one, other in zip(read.pads, own, strict=True))
    return dataclasses.replace(read, pads=(top, left, bottom, right), sole=False)
