"""How many int8 steps of a quantized tensor its Convs can use; needs only weights and ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.ranges import Part

__all__ = ["Floats", "Reader", "bn_gains", "half_spans", "input_energy", "readers", "steps_left"]

Floats = npt.NDArray[np.float64]

# May stand between a tensor and the Conv that reads it; a BN may too, and its gains count.
THROUGH = frozenset({"Relu", "MaxPool", "AveragePool", "Add"})
FAINT = 1e-3  # an output below this share of its layer's median reads nothing: its weights are dead


@dataclass(frozen=True, slots=True)
class Reader:
    """A Conv that reads a tensor; `energy` (outputs, channels): the sum of its squared weights from channel to output.

    A BN between them multiplies it by its squared gain.
    """

    conv: str
    energy: Floats


def readers(value: ir.Value) -> Iterator[Reader]:
    """The Convs that read `value`, directly or after ReLU, pooling, sums and BN."""
    for use in value.uses():
        node = use.node
        if node.op_type == "Conv" and use.idx == 0:
            yield Reader(node.name or "", input_energy(node))
        elif node.op_type in THROUGH:
            yield from readers(node.outputs[0])
        elif node.op_type == "BatchNormalization":
            squared = bn_gains(node) ** 2
            for reader in readers(node.outputs[0]):
                yield Reader(reader.conv, reader.energy * squared)


def input_energy(conv: ir.Node) -> Floats:
    """The sum of the squared weights from each channel to each output, (outputs, channels)."""
    weights = _constant(conv.inputs[1])
    energy: Floats = np.square(weights).sum(axis=(2, 3))
    return energy


def bn_gains(bn: ir.Node) -> Floats:
    """The gain of each channel of a BN, |gamma| / sqrt(variance + epsilon), (C,)."""
    gamma, variance = _constant(bn.inputs[1]), _constant(bn.inputs[4])
    gains: Floats = np.abs(gamma) / np.sqrt(variance + bn.attributes["epsilon"].as_float())
    return gains


def half_spans(part: Part, largest: float) -> Floats:
    """Half of the range of each channel, (C,), clipped at `largest`: a constant is not a signal."""
    spans: Floats = part.highs.astype(np.float64).clip(-largest, largest) - part.lows.clip(-largest, largest)
    return spans / 2.0


def steps_left(reader: Reader, spans: Floats, step: float) -> float:
    """The int8 steps, of 127, that the reader's typical output finds in the tensor: the median of signal / noise.

    With weights w_c and half spans a_c of the channels, signal = sqrt(sum w_c^2 a_c^2); noise = step sqrt(sum w_c^2),
    since all channels are rounded with the same step. The ratio is 127 if every channel spans the whole signed range,
    and half of it after a ReLU. It falls if channels with small spans have large weights: their signal has few steps. A
    dead channel with small weights changes nothing.
    """
    signal: Floats = np.sqrt(reader.energy @ spans**2)
    noise: Floats = np.sqrt(reader.energy.sum(axis=1)) * step
    live = signal > FAINT * np.median(signal)
    return float(np.median(signal[live] / noise[live])) if live.any() else np.inf


def _constant(value: ir.Value | None) -> Floats:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy().astype(np.float64)
