"""Guard: channels that hardly live, and that a BN makes loud: rounding noise is what is left of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.caution import Caution, listed
from wrn_deploy.calib.equalization.resolution import Floats, bn_gains, input_energy
from wrn_deploy.calib.guard import Calibrated
from wrn_deploy.calib.placement import tensorrt_points

__all__ = ["ID", "look"]

ID = "near-dead-bn"


@dataclass(frozen=True, slots=True)
class _Loud:
    """A layer, its loud channels, and how far the loudest is over the limits (1: at them)."""

    excess: float
    layer: str
    channels: tuple[int, ...]


def look(seen: Calibrated) -> Caution | None:
    """Warns of Convs (with the BN that was folded into them) and BN that amplify the rounding of what they read.

    Rounding is noise of variance step**2 / 12 in every channel. A dead channel with small weights or gain is harmless
    and frequent (a published WRN-40-1 has 37 of 64 in one Conv), and is not warned of.
    """
    quantized = {point.tensor for point in tensorrt_points(seen.graph, seen.float_convs)}
    found = [loud for node in seen.graph if (loud := _loud(seen, node, quantized)) is not None]
    if not found:
        return None
    found.sort(key=lambda loud: -loud.excess)
    worst, names = found[0], tuple(loud.layer for loud in found)
    channels = listed([str(channel) for channel in worst.channels])
    others = f"; also {listed(names[1:])}" if names[1:] else ""
    return Caution(
        ID,
        names,
        {"channels": sum(len(loud.channels) for loud in found), "times_the_limit": worst.excess},
        f"{worst.layer} amplifies channels that are nearly dead ({channels}{others})",
        "int8 rounding becomes loud noise there; equalise (on by default), or let `tune` keep the Convs in fp16",
    )


def _loud(seen: Calibrated, node: ir.Node, quantized: Collection[str]) -> _Loud | None:
    """A channel is loud when its noise is large beside what it spans, and beside its layer, and stands out there.

    Where all channels of a layer are noisy, the scale of what it reads is to blame, and `extreme-ranges` says so.
    """
    noise, spans = _noise(seen, node, quantized), _spans(seen, node)
    if noise is None or spans is None or not spans.any():
        return None
    share, living, limits = noise / spans.clip(1e-30), spans > 0.0, seen.limits
    own = share / max(limits.own_noise, limits.gain * float(np.median(share[living])))
    excess = np.minimum(own, noise / (limits.layer_noise * float(np.median(spans[living]))))
    order = np.argsort(-excess, kind="stable")
    channels = tuple(int(channel) for channel in order if excess[channel] > 1.0)
    return _Loud(float(excess.max()), node.name or "", channels) if channels else None


def _noise(seen: Calibrated, node: ir.Node, quantized: Collection[str]) -> Floats | None:
    """The deviation of the rounding noise in each channel of what the node gives, (C,); None without any."""
    source = node.inputs[0] if node.inputs else None
    if source is None:
        return None
    if node.op_type == "Conv" and node.name not in seen.float_convs and seen.range(source.name or "") is not None:
        noise: Floats = np.sqrt(input_energy(node).sum(axis=1) / 12.0) * seen.step(source.name or "")
        return noise
    if node.op_type == "BatchNormalization":
        # A BN reads a sum of which the skip was rounded, whether or not the sum is rounded itself further on.
        producer = source.producer()
        read = [source, *(producer.inputs if producer is not None and producer.op_type == "Add" else ())]
        steps = [seen.step(value.name or "") for value in read if value is not None and value.name in quantized]
        return bn_gains(node) * (max(steps) / np.sqrt(12.0)) if steps else None
    return None


def _spans(seen: Calibrated, node: ir.Node) -> Floats | None:
    """What each channel spans that the node gives, behind the ReLU where only that was collected, (C,)."""
    values = [node.outputs[0], *(use.node.outputs[0] for use in node.outputs[0].uses() if use.node.op_type == "Relu")]
    name = next((value.name for value in values if value.name in seen.ranges), None)
    if name is None:
        return None
    whole = seen.ranges[name].whole
    spans: Floats = whole.highs.astype(np.float64) - whole.lows
    return spans
