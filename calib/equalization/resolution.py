"""Counts the int8 steps of a quantized tensor that the Convs that read it can use, from weights and ranges alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.ranges import Part
from wrn_deploy.graph import array_of, parameter

__all__ = ["Consumer", "Floats", "bn_gains", "consumers", "half_spans", "input_energy", "steps_left"]

Floats = npt.NDArray[np.float64]

# These may stand between a tensor and the Conv that reads it; so may BN, whose gains count as part of the weights.
THROUGH = frozenset({"Relu", "MaxPool", "AveragePool", "Add"})
FAINT = 1e-3  # an output whose signal is below this fraction of its layer's median has dead weights, and is left out


@dataclass(frozen=True, slots=True)
class Consumer:
    """A Conv that reads a tensor; `energy` (outputs, channels) sums its squared weights per output and channel.

    A BN between the tensor and the Conv multiplies the energy by its squared gain.
    """

    conv: str
    energy: Floats


def consumers(value: ir.Value) -> Iterator[Consumer]:
    """Yields the Convs that read `value`, directly or through ReLU, pooling, sums and BN."""
    for use in value.uses():
        node = use.node
        if node.op_type == "Conv" and use.idx == 0:
            yield Consumer(node.name or "", input_energy(node))
        elif node.op_type in THROUGH:
            yield from consumers(node.outputs[0])
        elif node.op_type == "BatchNormalization":
            squared = bn_gains(node) ** 2
            for consumer in consumers(node.outputs[0]):
                yield Consumer(consumer.conv, consumer.energy * squared)


def input_energy(conv: ir.Node) -> Floats:
    """The sum of a Conv's squared weights from each channel to each output, (outputs, channels); 0 in other groups."""
    weights = array_of(conv.inputs[1])
    energy: Floats = np.einsum("oikl,oikl->oi", weights, weights, dtype=np.float32).astype(np.float64)
    groups = conv.attributes.get_int("group", 1)
    if groups == 1:
        return energy
    outputs, channels = len(energy) // groups, energy.shape[1]
    whole = np.zeros((len(energy), channels * groups))
    for group in range(groups):
        rows, columns = group * outputs, group * channels
        whole[rows : rows + outputs, columns : columns + channels] = energy[rows : rows + outputs]
    return whole


def bn_gains(bn: ir.Node) -> Floats:
    """The factor of a BN for each channel, |gamma| / sqrt(variance + epsilon), (C,)."""
    gamma, variance = parameter(bn, 1), parameter(bn, 4)
    gains: Floats = np.abs(gamma) / np.sqrt(variance + bn.attributes["epsilon"].as_float())
    return gains


def half_spans(part: Part, largest: float) -> Floats:
    """Half of each channel's range, (C,), clipped at the threshold `largest`: a constant offset carries no signal."""
    spans: Floats = part.highs.astype(np.float64).clip(-largest, largest) - part.lows.clip(-largest, largest)
    return spans / 2.0


def steps_left(consumer: Consumer, spans: Floats, step: float) -> float:
    """The number of int8 steps, of 127, that hold the signal of the consumer's typical output.

    For output o with weights of energy e[o, c], where channel c spans s[c]:

        steps[o] = sqrt(sum_c e[o, c] s[c]^2) / (step * sqrt(sum_c e[o, c]))

    All channels are rounded with the same step, so noise follows the weights alone, and signal the weights times the
    span. The ratio is 127 if every channel spans a whole signed range, and half of that behind a ReLU. It falls if
    channels with small spans have large weights. A dead channel with small weights changes nothing. Returns the median
    over the outputs, because single outputs may be unusual.
    """
    signal: Floats = np.sqrt(consumer.energy @ spans**2)
    noise: Floats = np.sqrt(consumer.energy.sum(axis=1)) * step
    live = signal > FAINT * np.median(signal)
    return float(np.median(signal[live] / noise[live])) if live.any() else np.inf
