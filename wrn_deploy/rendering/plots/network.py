"""A network as a picture shows it: layers, the tensors between them, and blocks; the standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Kind", "Layer", "Network", "Segment", "Tensor", "segments_of"]


class Kind(StrEnum):
    """What a layer is, as far as the picture cares."""

    INPUT = "input"
    CONV = "conv"
    LINEAR = "linear"
    NORM = "norm"
    SUM = "sum"
    POOL = "pool"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One box.

    `label` is what it does; `shape` that of its output without the batch (empty: not known); `macs` are for one image;
    `arithmetic` is what those are computed in (None: there are none); `outputs` names what it gives of the graph's.
    """

    name: str
    kind: Kind
    label: str
    shape: tuple[int, ...]
    parameters: int = 0
    macs: int = 0
    arithmetic: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor from one layer to another, by their places; `codes` is the type it is quantized to, None: it is not."""

    source: int
    target: int
    codes: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in an order in which they can be computed, and the tensors between them."""

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


@dataclass(frozen=True, slots=True)
class Segment:
    """Layers `first` to `last` (included), between two places where one tensor alone is handed on.

    A residual block is one, and so is each layer between blocks. `count` equal ones follow each other, of which `ends`
    are the names of the first and the last.
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
    """The segments in their order; with `fold`, equal ones that follow each other are one."""
    found: list[Segment] = []
    marks: list[object] = []
    for first, last in _ranges(network):
        name, mark = _name(network.layers[first : last + 1]), _signature(network, first, last)
        if fold and marks and marks[-1] == mark:
            before = found[-1]
            found[-1] = Segment(before.first, before.last, before.count + 1, (before.ends[0], name))
            continue
        found.append(Segment(first, last, 1, (name, name)))
        marks.append(mark)
    return found


def _ranges(network: Network) -> list[tuple[int, int]]:
    """A segment ends behind a layer if whatever is read later is read from that layer."""
    earliest = list(range(len(network.layers)))  # the earliest source of what is still to be read behind each layer
    for tensor in network.tensors:
        for place in range(tensor.source, tensor.target):
            earliest[place] = min(earliest[place], tensor.source)
    found, first = [], 0
    for place, source in enumerate(earliest):
        if source == place:
            found.append((first, place))
            first = place + 1
    return found


def _name(layers: Sequence[Layer]) -> str:
    """The parts of the layers' names that they share, or the first one's name."""
    if len(layers) == 1:
        return layers[0].name
    parts = [layer.name.split(".") for layer in layers]
    shared = []
    for same in zip(*parts, strict=False):
        if len(set(same)) > 1:
            break
        shared.append(same[0])
    return ".".join(shared) or layers[0].name


def _signature(network: Network, first: int, last: int) -> object:
    """What equal segments have in common: everything but names."""
    layers = network.layers[first : last + 1]
    boxes = [
        (layer.kind, layer.label, layer.shape, layer.parameters, layer.macs, layer.arithmetic, layer.outputs)
        for layer in layers
    ]
    reads = sorted(
        (max(tensor.source - first, -1), tensor.target - first, tensor.codes or "")
        for tensor in network.tensors
        if first <= tensor.target <= last
    )
    return boxes, reads
