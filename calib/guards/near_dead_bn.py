"""Guard: warns of nearly dead channels that a BN amplifies, so that they carry little but int8 rounding noise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.equalization.resolution import Floats, bn_gains, input_energy
from wrn_deploy.calib.guard import Calibrated, CalibrationWarning, join_names
from wrn_deploy.calib.placement import quantized_tensors
from wrn_deploy.formatting import count
from wrn_deploy.graph import input_of, producer, users, value_name

__all__ = ["ID", "check"]

ID = "near-dead-bn"


@dataclass(frozen=True, slots=True)
class _Noisy:
    """A layer, the tensor it reads, its noisy channels, and the noise of the worst in units of the limits."""

    excess: float
    layer: str
    tensor: str
    channels: tuple[int, ...]


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns of BN, and of Convs with folded BN, that amplify the rounding of their input.

    Rounding adds noise of variance scale**2 / 12 to every channel. A dead channel with small weights or gain is
    harmless and frequent (a published WRN-40-1 has 37 of 64 in one Conv), and gives no warning.
    """
    quantized = set(quantized_tensors(calibrated.graph, calibrated.float_convs))
    found = [noisy for node in calibrated.graph if (noisy := _noisy(calibrated, node, quantized)) is not None]
    if not found:
        return None
    found.sort(key=lambda noisy: -noisy.excess)
    worst, names = found[0], tuple(noisy.layer for noisy in found)
    channels = join_names([str(channel) for channel in worst.channels])
    others = f"; {count(len(names) - 1, 'more layer')}" if names[1:] else ""
    return CalibrationWarning(
        id=ID,
        names=names,
        numbers={"channels": sum(len(noisy.channels) for noisy in found), "times_the_limit": worst.excess},
        found=f"{worst.layer} amplifies int8 noise in channels that are nearly dead ({channels}{others})",
        remedy=calibrated.resolution_remedy(noisy.tensor for noisy in found),
    )


def _noisy(calibrated: Calibrated, node: ir.Node, quantized: Collection[str]) -> _Noisy | None:
    """The layer of a node if it has noisy channels, else None.

    A channel is noisy if its noise is large compared with its own range, with the layer's typical range, and with the
    layer's typical fraction of noise. If all channels of a layer have noise, the scale of its input is the cause:
    `extreme-ranges` warns of that.
    """
    noise, spans = _noise(calibrated, node, quantized), _spans(calibrated, node)
    if noise is None or spans is None or not spans.any():
        return None
    fraction, living, limits = noise / spans.clip(1e-30), spans > 0.0, calibrated.limits
    own = fraction / max(limits.own_noise, limits.gain * float(np.median(fraction[living])))
    excess = np.minimum(own, noise / (limits.layer_noise * float(np.median(spans[living]))))
    order = np.argsort(-excess, kind="stable")
    channels = tuple(int(channel) for channel in order if excess[channel] > 1.0)
    if not channels:
        return None
    return _Noisy(float(excess.max()), node.name or "", value_name(input_of(node, 0)), channels)


def _noise(calibrated: Calibrated, node: ir.Node, quantized: Collection[str]) -> Floats | None:
    """The standard deviation of the rounding noise in each output channel of a Conv or BN, (C,); None without any."""
    source = input_of(node, 0)
    name = value_name(source)
    if node.op_type == "Conv" and node.name not in calibrated.float_convs and calibrated.range(name) is not None:
        noise: Floats = np.sqrt(input_energy(node).sum(axis=1) / 12.0) * calibrated.scale(name)
        return noise
    if node.op_type == "BatchNormalization":
        # A BN reads a sum whose skip was rounded, whether or not the sum itself is rounded further on.
        add = producer(source, "Add")
        read = [name, *(map(value_name, add.inputs) if add is not None else ())]
        scales = [calibrated.scale(tensor) for tensor in read if tensor in quantized]
        return bn_gains(node) * (max(scales) / np.sqrt(12.0)) if scales else None
    return None


def _spans(calibrated: Calibrated, node: ir.Node) -> Floats | None:
    """The range of each output channel, (C,), or that behind the ReLU if only this was collected."""
    output = node.outputs[0]
    names = map(value_name, [output, *(user.outputs[0] for user in users(output) if user.op_type == "Relu")])
    found = next((calibrated.ranges[name] for name in names if name in calibrated.ranges), None)
    return None if found is None else found.whole.highs.astype(np.float64) - found.whole.lows
