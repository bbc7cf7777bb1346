"""Guard: warns of tensors whose channels differ so much that one scale leaves few int8 steps to their readers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.equalization.resolution import Consumer, Floats, consumers, half_spans, steps_left
from wrn_deploy.calib.guard import Calibrated, CalibrationWarning, count_others
from wrn_deploy.calib.placement import quantized_tensors
from wrn_deploy.graph import value_name, values_of

__all__ = ["ID", "check"]

ID = "extreme-ranges"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coarse:
    """A tensor, half of each channel's range, and the consumer that has the fewest steps in it."""

    name: str
    spans: Floats
    consumer: Consumer
    steps: float


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns of tensors that leave fewer than `limits.steps` of 127 steps to the typical output of a Conv."""
    graph, limit = calibrated.graph, calibrated.limits.steps
    values = values_of(graph)
    names = quantized_tensors(graph, calibrated.float_convs)
    found = [worst for name in names if (worst := _worst(calibrated, values[name])) is not None]
    coarse = sorted((tensor for tensor in found if tensor.steps < limit), key=lambda tensor: tensor.steps)
    if not coarse:
        return None
    first, tensors = coarse[0], tuple(tensor.name for tensor in coarse)
    largest, ratio = _largest_channel(first)
    left = f"{first.steps:.2g} of 127 int8 steps to {first.consumer.conv}"
    return CalibrationWarning(
        id=ID,
        names=tensors,
        numbers={"steps": first.steps, "limit": limit, "span": ratio},
        found=f"{first.name}: channel {largest} sets the scale and leaves {left}{count_others(tensors)}",
        remedy=calibrated.resolution_remedy(tensors),
    )


def _worst(calibrated: Calibrated, value: ir.Value) -> _Coarse | None:
    """The tensor with the consumer that has the fewest steps; None if no Conv reads it, or it has no range."""
    name = value_name(value)
    found = calibrated.range(name)
    if found is None:
        return None
    scale = calibrated.scale(name)
    spans = half_spans(found.whole, 127.0 * scale)
    cases = [
        _Coarse(name=name, spans=spans, consumer=consumer, steps=steps_left(consumer, spans, scale))
        for consumer in consumers(value)
    ]
    return min(cases, key=lambda case: case.steps, default=None)


def _largest_channel(coarse: _Coarse) -> tuple[int, float]:
    """The channel that sets the scale, and the range of the channels that count most as a fraction of its range.

    Those that count most are the fewest channels with half of the consumer's energy.
    """
    energy = coarse.consumer.energy.sum(axis=0)
    order = np.argsort(-energy, kind="stable")
    most = order[: 1 + int(np.searchsorted(np.cumsum(energy[order]), energy.sum() / 2.0))]
    largest = int(coarse.spans.argmax())
    return largest, float(np.median(coarse.spans[most]) / (coarse.spans[largest] or 1.0))
