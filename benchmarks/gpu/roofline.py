"""The minimum time that a GPU needs for a graph: for each kernel the longer of arithmetic and memory traffic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu.limits import Limits
from wrn_deploy.graph import MULTIPLYING, macs_of, name_of

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Kernel", "kernels_of", "roofline_s"]

# These run within the kernel that computes their input, or the last of their inputs.
FUSED = {
    "Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Flatten", "Identity", "Mul", "QuantizeLinear",
    "Relu", "Reshape", "Squeeze", "Sub",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kernel:
    """A node that computes, with the nodes fused into it: multiply-accumulates, and elements read and written."""

    name: str
    macs: int
    elements: int


def kernels_of(graph: Path | ir.Model, batch: int) -> list[Kernel]:
    """The fewest kernels that can compute a graph, in order.

    A kernel reads its inputs and weights once, and writes once what other kernels read or the graph outputs. What only
    its own fused nodes read never reaches memory.
    """
    import onnx_ir as ir

    model = ir.load(graph) if isinstance(graph, Path) else graph
    groups: list[list[ir.Node]] = []
    home: dict[str, int] = {}  # tensor -> the group that makes it
    for node in model.graph:
        makers = [home[value.name] for value in node.inputs if value is not None and value.name in home]
        if node.op_type == "Constant":
            continue
        if node.op_type in FUSED and makers:
            group = max(makers)
        else:
            group = len(groups)
            groups.append([])
        groups[group].append(node)
        home.update((value.name, group) for value in node.outputs if value.name is not None)
    read_by: dict[str, set[int]] = {value.name: {-1} for value in model.graph.outputs if value.name is not None}
    for index, nodes in enumerate(groups):
        names = {value.name for node in nodes for value in node.inputs if value is not None}
        for name in names - {None}:
            read_by.setdefault(str(name), set()).add(index)
    return [_kernel(index, nodes, read_by, batch) for index, nodes in enumerate(groups)]


def roofline_s(kernels: list[Kernel], limits: Limits, element_bytes: int) -> float:
    """Seconds at the limits, one kernel after another; elements of 1 byte are int8, others use the fp16 units."""
    ops = limits.int8_ops if element_bytes == 1 else limits.fp16_ops
    return sum(max(2 * kernel.macs / ops, element_bytes * kernel.elements / limits.bytes_per_s) for kernel in kernels)


def _kernel(index: int, nodes: list[ir.Node], read_by: dict[str, set[int]], batch: int) -> Kernel:
    made = {value.name: value for node in nodes for value in node.outputs}
    read = {value.name: value for node in nodes for value in node.inputs if value is not None}
    elements = sum(_elements(value, batch) for name, value in read.items() if name not in made)
    elements += sum(_elements(value, batch) for name, value in made.items() if read_by.get(str(name), set()) - {index})
    return Kernel(nodes[0].name or nodes[0].op_type, sum(_macs(node, batch) for node in nodes), elements)


def _macs(node: ir.Node, batch: int) -> int:
    if node.op_type not in MULTIPLYING:
        return 0
    macs = macs_of(node)
    if macs is None:
        raise ValueError(f"the graph has no shapes for {name_of(node)}: expected inferred shapes")
    return batch * macs


def _elements(value: ir.Value, batch: int) -> int:
    if value.shape is None:
        raise ValueError(f"the graph has no shape for {value.name}: expected inferred shapes")
    return math.prod(size if isinstance(size, int) else batch for size in value.shape)
