"""A network as a picture shows it: layers, the tensors between them, and blocks; the standard library only."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["Layer", "LayerKind", "Network", "Segment", "Tensor", "segments_of"]


class LayerKind(StrEnum):
    """The kinds of layers in the picture."""

    INPUT = "input"
    CONV = "conv"
    LINEAR = "linear"
    NORM = "norm"
    SUM = "sum"
    POOL = "pool"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One box of the picture.

    `label` describes what the layer computes; `shape` is its output's, without the batch (empty: not known); `macs`
    are for one image, computed in `arithmetic` (None: no MACs); `outputs` names the graph's outputs among the layer's.
    """

    name: str
    kind: LayerKind
    label: str
    shape: tuple[int, ...]
    parameters: int = 0
    macs: int = 0
    arithmetic: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor from one layer to another, by their indices; `codes` is its quantized type, None: not quantized."""

    source: int
    target: int
    codes: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in an order of execution, and the tensors between them."""

    name: str
    precision: str
    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]

    @property
    def parameters(self) -> int:
        """Of all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Of all layers, for one image."""
        return sum(layer.macs for layer in self.layers)

    def layers_of(self, segment: Segment) -> tuple[Layer, ...]:
        """The layers of a segment; of several equal ones, those of the first."""
        return self.layers[segment.first : segment.last + 1]


@dataclass(frozen=True, slots=True)
class Segment:
    """Layers `first` to `last` (included), between two places where the graph passes on a single tensor.

    A residual block is a segment, and so is each layer between blocks. It stands for `count` equal segments in a row;
    `ends` are the names of the first and the last.
    """

    first: int
    last: int
    count: int
    ends: tuple[str, str]

    @property
    def is_block(self) -> bool:
        """Whether it has several layers."""
        return self.last > self.first

    @property
    def title(self) -> str:
        """Its name, or those of the first and the last."""
        return self.ends[0] if self.count == 1 else f"{self.ends[0]} … {self.ends[1]}"


def segments_of(network: Network, *, fold: bool) -> list[Segment]:
    """The segments in order; with `fold`, equal ones in a row become one."""
    found: list[Segment] = []
    signatures: list[object] = []
    for first, last in _ranges(network):
        parts = zip(*(layer.name.split(".") for layer in network.layers[first : last + 1]), strict=False)
        shared = itertools.takewhile(lambda part: len(set(part)) == 1, parts)
        name = ".".join(part for part, *_ in shared) or network.layers[first].name
        signature = _signature(network, first, last)
        if fold and signature in signatures[-1:]:
            found[-1] = replace(found[-1], count=found[-1].count + 1, ends=(found[-1].ends[0], name))
        else:
            found.append(Segment(first, last, 1, (name, name)))
            signatures.append(signature)
    return found


def _ranges(network: Network) -> list[tuple[int, int]]:
    """A segment ends after a layer if all later layers read, of what came before, only that layer's output."""
    earliest = list(range(len(network.layers)))  # the earliest source that is still to be read after each layer
    for tensor in network.tensors:
        for index in range(tensor.source, tensor.target):
            earliest[index] = min(earliest[index], tensor.source)
    ends = [index for index, source in enumerate(earliest) if source == index]
    return list(zip([0, *(end + 1 for end in ends)], ends, strict=False))


def _signature(network: Network, first: int, last: int) -> object:
    """What equal segments have in common: everything but names."""
    layers = [replace(layer, name="") for layer in network.layers[first : last + 1]]
    reads = sorted(
        (max(tensor.source - first, -1), tensor.target - first, tensor.codes or "")
        for tensor in network.tensors
        if first <= tensor.target <= last
    )
    return layers, reads
