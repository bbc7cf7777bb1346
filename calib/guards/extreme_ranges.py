"""Guard: a tensor whose one scale serves channels too different, so that its readers find few int8 steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.caution import Caution, listed
from wrn_deploy.calib.equalization.resolution import Floats, Reader, half_spans, readers, steps_left
from wrn_deploy.calib.guard import Calibrated
from wrn_deploy.calib.placement import tensorrt_points

__all__ = ["ID", "look"]

ID = "extreme-ranges"


@dataclass(frozen=True, slots=True)
class _Starved:
    """A tensor with half of what its channels span, and the reader that finds the fewest steps in it."""

    tensor: str
    spans: Floats
    reader: Reader
    steps: float


def look(seen: Calibrated) -> Caution | None:
    """Warns of the tensors in which a Conv's typical output finds fewer than `limits.steps` of the 127 steps."""
    values = {value.name: value for node in seen.graph for value in (*node.inputs, *node.outputs) if value is not None}
    names = dict.fromkeys(point.tensor for point in tensorrt_points(seen.graph, seen.float_convs))
    found = [worst for name in names if (worst := _worst(seen, values[name])) is not None]
    starved = sorted((one for one in found if one.steps < seen.limits.steps), key=lambda one: one.steps)
    if not starved:
        return None
    first, tensors = starved[0], tuple(one.tensor for one in starved)
    text, ratio = _channels(first)
    others = f" (also {listed(tensors[1:])})" if tensors[1:] else ""
    return Caution(
        ID,
        tensors,
        {"steps": first.steps, "limit": seen.limits.steps, "span": ratio},
        f"{first.tensor}: {text}: {first.steps:.2g} of 127 steps are left{others}",
        "equalise (on by default), or let `tune` keep the Convs in fp16",
    )


def _worst(seen: Calibrated, value: ir.Value) -> _Starved | None:
    tensor = value.name or ""
    found = seen.range(tensor)
    if found is None:
        return None
    step = seen.step(tensor)
    spans = half_spans(found.whole, 127.0 * step)
    reading = [_Starved(tensor, spans, reader, steps_left(reader, spans, step)) for reader in readers(value)]
    return min(reading, key=lambda one: one.steps, default=None)


def _channels(starved: _Starved) -> tuple[str, float]:
    """Which channel sets the scale, and which are read most, in words; and what those span, in units of the former."""
    heard = starved.reader.energy.sum(axis=0)
    order = np.argsort(-heard, kind="stable")
    most = order[: 1 + int(np.searchsorted(np.cumsum(heard[order]), heard.sum() / 2.0))]
    largest = int(starved.spans.argmax())
    ratio = float(np.median(starved.spans[most]) / (starved.spans[largest] or 1.0))
    read = f"channel {most[0]}" if len(most) == 1 else f"{len(most)} channels"
    text = f"channel {largest} sets the scale, {starved.reader.conv} mostly reads {read} of {ratio:.2%} of its span"
    return text, ratio
