"""Makes of a healthy pre-activation checkpoint one that computes the same, and that int8 with one scale a tensor ruins.

Two rescalings that training cannot see, since BN and ReLU leave the function as it is. What they do to the statistics
is what recipes without weight decay on BN leave behind: gammas far above the others, whose size the next Conv's decayed
weights take back; and channels that nearly died, whose tiny variance BN makes up for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from tests.models.fitting import fit_weights
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.weights import read_weights, write_weights
from wrn_deploy.models.families.wrn import PreActivationBlock, WideResNet

__all__ = ["LOUD", "NEAR_DEAD", "Damage", "write_collapsed"]


@dataclass(frozen=True, slots=True)
class Damage:
    """Which rescalings: powers of two, so that they are exact; 0 for none. `fraction` of a layer's channels are met."""

    loud: int = 0
    near_dead: int = 0
    fraction: float = 0.25


LOUD = Damage(loud=8)  # gammas 256 times the others'
NEAR_DEAD = Damage(near_dead=8, fraction=0.4)  # a variance of 2**-16 of what it was, mostly below BN's epsilon


def write_collapsed(model: str, weights: Path, damage: Damage, out: Path) -> Path:
    """Writes the checkpoint `weights` of `model`, with the damage done, as a safetensors file; returns its path."""
    checkpoint = read_weights(weights)
    spec = checkpoint.spec or describe_model(model)
    network = build_model(spec)
    fit_weights(network, checkpoint, spec)
    assert isinstance(network, WideResNet)
    with torch.no_grad():
        for block in _blocks(network):
            _make_loud(block, damage)
        for writers, readers in _streams(network):
            _make_near_dead(writers, readers, damage)
    write_weights(network, spec, out)
    return out


def _make_loud(block: PreActivationBlock, damage: Damage) -> None:
    """Between the block's Convs: BN's gamma and beta times 2**loud, what reads the channel divided by it."""
    factor = 2.0**damage.loud
    met = _met(block.bn2.num_features, damage.fraction)
    block.bn2.weight[met] *= factor
    block.bn2.bias[met] *= factor
    block.conv2.weight[:, met] /= factor


def _make_near_dead(writers: list[nn.Conv2d], readers: list[nn.BatchNorm2d], damage: Damage) -> None:
    """In a stream of sums: what is written divided by 2**near_dead; the gain of the BN that read it makes up for it."""
    if not damage.near_dead:
        return
    factor = 2.0**-damage.near_dead
    met = _met(readers[0].num_features, damage.fraction)
    for conv in writers:
        conv.weight[met] *= factor
    for bn in readers:
        assert bn.running_mean is not None
        assert bn.running_var is not None
        gain = bn.weight[met].double() / (bn.running_var[met].double() + bn.eps).sqrt()
        bn.running_mean[met] *= factor
        bn.running_var[met] *= factor**2
        bn.weight[met] = (gain / factor * (bn.running_var[met].double() + bn.eps).sqrt()).float()


def _met(channels: int, fraction: float) -> slice:
    return slice(0, max(1, int(channels * fraction)))


def _blocks(network: WideResNet) -> Iterator[PreActivationBlock]:
    for group in (network.block1, network.block2, network.block3):
        for block in group:
            assert isinstance(block, PreActivationBlock)
            yield block


def _streams(network: WideResNet) -> list[tuple[list[nn.Conv2d], list[nn.BatchNorm2d]]]:
    """For each stream of sums, the Convs that write it and the BN that read it; one begins at each change of width."""
    blocks = [*_blocks(network)]
    streams: list[tuple[list[nn.Conv2d], list[nn.BatchNorm2d]]] = [([network.conv1], [blocks[0].bn1])]
    for block, following in pairwise([*blocks, None]):
        assert block is not None
        if block.shortcut is not None:
            streams.append(([block.shortcut], []))
        streams[-1][0].append(block.conv2)
        streams[-1][1].append(network.bn1 if following is None else following.bn1)
    return streams
