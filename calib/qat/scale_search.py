"""Searches finer scales for activations, by the error of the Convs that read them, before a graph is fine-tuned."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from wrn_deploy.calib.qat.execute import GraphStep, Inputs, TorchGraph
from wrn_deploy.calib.qat.operators import OPERATORS
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE

__all__ = ["search_scales"]

FINEST, STEPS_PER_OCTAVE = 14, 4  # down to 2**-14 of the scale, in steps of the fourth root of two
WORTH = 0.8  # a scale changes only if the error falls below this fraction: the weights' rounding was fitted to it
HOPELESS = 4.0  # the search ends at this multiple of the smallest error: finer scales clip even more

Readers = list[tuple[GraphStep, Tensor | None]]  # what reads a tensor; a Conv's weights, None for another step

quantize, dequantize = OPERATORS[QUANTIZE], OPERATORS[DEQUANTIZE]


def search_scales(graph: TorchGraph, scales: Collection[str], images: Tensor) -> dict[str, float]:
    """Returns factors below 1 for the scales of activations, by the name of the scale; the other scales stay.

    Calibration considers a tensor alone. Here the error of a scale is the squared change of the outputs of the Convs
    that read the tensor, with their stored weights, and of the sum if it is a skip: a channel with large values and
    small weights may be clipped, so that the others have levels. If int8 with one scale per tensor has collapsed,
    nothing of the image reaches the logits, and there is no gradient to follow; this search needs none.
    Activations of the normalised `images` are computed with the scales found so far.
    """
    factors: dict[str, float] = {}

    def before(step: GraphStep, inputs: Inputs) -> Inputs:
        if step.op_type not in {QUANTIZE, DEQUANTIZE}:
            return inputs
        name, (values, scale, zero_point) = step.inputs[1], inputs
        assert scale is not None
        if step.op_type == QUANTIZE and name in scales and name not in factors:
            assert values is not None
            assert zero_point is not None
            readers = [(reader, _weights(graph, reader)) for reader in _readers(graph, step.output)]
            factors[name] = _best_factor(values, scale, zero_point, readers)
        return [values, scale * factors.get(name, 1.0), zero_point]

    with torch.no_grad():
        graph.run(images, before=before)
    return {name: factor for name, factor in factors.items() if factor < 1.0}


def _best_factor(values: Tensor, scale: Tensor, zero_point: Tensor, readers: Readers) -> float:
    """Tries finer scales, and returns the factor with the smallest change of what the readers compute."""
    best, min_error, limit = 1.0, float("inf"), float("inf")
    for index in range(FINEST * STEPS_PER_OCTAVE + 1):
        factor = 2.0 ** (-index / STEPS_PER_OCTAVE)
        codes = quantize(values, scale * factor, zero_point)
        change = dequantize(codes, scale * factor, zero_point) - values
        changes = (
            change if weights is None else OPERATORS["Conv"](change, weights, **reader.attributes)
            for reader, weights in readers
        )
        error = sum(float(seen.square().sum()) for seen in changes)
        limit = WORTH * error if index == 0 else limit
        if error < min_error:
            best, min_error = factor, error
        elif error > HOPELESS * min_error:
            break
    return best if min_error <= limit else 1.0


def _readers(graph: TorchGraph, codes: str) -> list[GraphStep]:
    """The steps that read the output of a Q after its DQ, as data, in graph order per DQ."""

    def users(name: str) -> list[GraphStep]:
        return [
            step
            for step in graph.steps
            for value in (step.inputs[:1] if step.op_type == "Conv" else step.inputs)
            if value == name
        ]

    return [reader for dequantizer in users(codes) for reader in users(dequantizer.output)]


def _weights(graph: TorchGraph, reader: GraphStep) -> Tensor | None:
    """The weights of a Conv, dequantized; None for another step."""
    if reader.op_type != "Conv":
        return None
    if reader.inputs[1] in graph.constants:
        return graph.constants[reader.inputs[1]]
    stored = next(step for step in graph.steps if step.output == reader.inputs[1])
    return dequantize(*(graph.constants[name] for name in stored.inputs), **stored.attributes)
