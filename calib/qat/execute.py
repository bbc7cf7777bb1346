"""Runs a Q/DQ graph in PyTorch, in float32 and differentiably; no ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from wrn_deploy.calib.qat.operators import OPERATORS
from wrn_deploy.errors import DeployError
from wrn_deploy.graph import array_of, value_name

__all__ = ["GraphStep", "Inputs", "TorchGraph"]

Attributes = Mapping[str, Any]
Inputs = list[Tensor | None]


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


def _tensor(value: ir.Value) -> Tensor:
    values = array_of(value)
    return torch.from_numpy(values.astype(np.float32) if values.dtype == np.float16 else values.copy())
