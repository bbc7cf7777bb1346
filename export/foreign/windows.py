"""The sizes of Convs and poolings, and their paddings as numbers, by ONNX's definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from wrn_deploy.export.foreign.tensors import Pads, Refused
from wrn_deploy.graph import name_of

__all__ = ["Window", "read_window"]


@dataclass(frozen=True, slots=True)
class Window:
    """How a node slides over an image: (rows, columns) each, and the paddings (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: Pads
    up: bool

    def sizes(self, height: int, width: int) -> tuple[int, int]:
        """The output's height and width; `up` rounds up, but no window begins in the padding behind the image."""
        found = []
        for axis, size in enumerate((height, width)):
            before, after, stride = self.pads[axis], self.pads[axis + 2], self.strides[axis]
            rest = size + before + after - self.dilations[axis] * (self.kernel[axis] - 1) - 1
            count = (-(-rest // stride) if self.up else rest // stride) + 1
            if self.up and (count - 1) * stride >= size + before:
                count -= 1
            found.append(count)
        return found[0], found[1]

    def attributes(self) -> dict[str, list[int]]:
        """The node's attributes."""
        return {
            "kernel_shape": [*self.kernel],
            "strides": [*self.strides],
            "dilations": [*self.dilations],
            "pads": [*self.pads],
        }


def read_window(node: ir.Node, kernel: Sequence[int], size: tuple[int, int], more: Pads) -> Window:
    """The window of a Conv or pooling on an image of this size.

    Args:
        node: the node.
        kernel: rows and columns.
        size: height and width of what it reads, without `more`.
        more: zeros around that, which the node shall add.

    Raises:
        Refused: it is not two-dimensional, or its window does not fit.
    """
    count = len(kernel)
    strides = _two(node, "strides", 1, count)
    dilations = _two(node, "dilations", 1, count)
    pads = [*node.attributes.get_ints("pads", [0] * 2 * count)]
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if count != 2 or len(pads) != 4 or min((*kernel, *strides, *dilations)) < 1 or min(pads) < 0:
        raise Refused(
            f"{node.op_type} {name_of(node)!r} is not of two dimensions with paddings from 0: expected a 2-D one"
        )
    rows, columns = kernel
    padded = (size[0] + more[0] + more[2], size[1] + more[1] + more[3])
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(padded, (rows, columns), strides, dilations, lower=mode == "SAME_LOWER")
    elif mode == "VALID":
        pads = [0, 0, 0, 0]
    top, left, bottom, right = (own + other for own, other in zip(pads, more, strict=True))
    window = Window(
        kernel=(rows, columns),
        strides=strides,
        dilations=dilations,
        pads=(top, left, bottom, right),
        up=bool(node.attributes.get_int("ceil_mode", 0)),
    )
    if min(window.sizes(*size)) < 1:
        raise Refused(
            f"{node.op_type} {name_of(node)!r} has a window of {rows}x{columns} on an image of {size[0]}x{size[1]}: "
            "expected a larger image"
        )
    return window


def _two(node: ir.Node, name: str, default: int, count: int) -> tuple[int, int]:
    found = [*node.attributes.get_ints(name, [default] * count)]
    return (found[0], found[1]) if len(found) == 2 else (0, 0)


def _same(
    size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int], *, lower: bool
) -> list[int]:
    """The paddings with which the output has ceil(size / stride) positions; the odd one goes behind, or before."""
    totals = []
    for axis in (0, 1):
        positions = -(-size[axis] // strides[axis])
        needed = (positions - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        totals.append(max(0, needed - size[axis]))
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*large, *small] if lower else [*small, *large]
