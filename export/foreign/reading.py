"""Reads the inputs of a foreign node, and refuses a use of an operator by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import onnx_ir as ir

from wrn_deploy.export.foreign.build import Builder
from wrn_deploy.export.foreign.tensors import Array, Known, Refused, Tensor
from wrn_deploy.graph import name_of

__all__ = ["Inputs", "Operator", "axes_of", "constant_input", "refusal", "tensor_input"]

Inputs: TypeAlias = Sequence[Known | None]
Operator: TypeAlias = Callable[[Builder, ir.Node, Inputs], Tensor]


def refusal(node: ir.Node, what: str, expected: str) -> Refused:
    """The error for a node: its operator and name, what is wrong with it, what was expected."""
    return Refused(f"{node.op_type} {name_of(node)!r} {what}: expected {expected}")


def tensor_input(node: ir.Node, inputs: Inputs, index: int = 0) -> Tensor:
    """An input that depends on the image."""
    found = inputs[index] if index < len(inputs) else None
    if not isinstance(found, Tensor):
        raise refusal(node, f"does not read the image in input {index}", "a tensor that depends on it")
    return found


def constant_input(node: ir.Node, inputs: Inputs, index: int) -> Array | None:
    """An input that is the same for all images; None if it is left out."""
    found = inputs[index] if index < len(inputs) else None
    if isinstance(found, Tensor):
        raise refusal(node, f"computes its input {index}", "a constant")
    return found


def axes_of(node: ir.Node, inputs: Inputs) -> list[int]:
    """The axes: an input since opset 13 or 18, an attribute before; empty if none are given."""
    given = constant_input(node, inputs, 1)
    return [*node.attributes.get_ints("axes", [])] if given is None else given.ravel().tolist()
