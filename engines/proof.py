"""Compares what a graph promises with the layers of the engine made of it: which multiplications are done in what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wrn_deploy.engines.layers import Arithmetic, EngineLayer
from wrn_deploy.engines.promise import Promise, shares_of
from wrn_deploy.errors import GateError

__all__ = ["Proof", "Shortfall", "Source", "check_proof", "computed_in", "kernels_of", "prove", "unproved"]

SHOWN = 5  # layers that a text lists
BITS = {Arithmetic.INT8: 8, Arithmetic.FP8: 8, Arithmetic.BF16: 16, Arithmetic.FP16: 16, Arithmetic.FP32: 32}
KINDS = ("conv", "correlation", "gemm", "matmul", "matrixmultiply", "fullyconnected")
STEPS = frozenset({"Conv", "Corr", "Dot", "Fc", "Gemm"})  # what a compiled kernel that multiplies has in its name


class Source(StrEnum):
    """Where the layers were read: in the engine, in what the builder printed, or nowhere."""

    INSPECTOR = "inspector"
    LOG = "builder log"
    PROMISE = "promise"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A layer that is computed in more bits than the graph promises."""

    name: str
    promised: Arithmetic
    got: Arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What an engine multiplies in.

    `shares` and `promised` are shares of all multiply-accumulates by arithmetic, `layers` the layers that run, and
    `reformats` those of them that only change a type or a layout (both None for a promise). `less` has the
    layers of the graph that got less than promised, and `unknown` those that were not found in the engine.
    """

    source: Source
    shares: Mapping[str, float]
    promised: Mapping[str, float]
    layers: int | None = None
    reformats: int | None = None
    less: tuple[Shortfall, ...] = ()
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        rounded = {key: {kind: round(share, 6) for kind, share in getattr(self, key).items()} for key in SHARES}
        less = [{"name": found.name, "promised": found.promised.value, "got": found.got.value} for found in self.less]
        counts = {"layers": self.layers, "reformats": self.reformats}
        return {"source": self.source.value, **rounded, **counts, "less": less, "unknown": list(self.unknown)}


SHARES = ("shares", "promised")


def unproved(promises: Sequence[Promise]) -> Proof:
    """The promise alone, where no layers of the engine can be read."""
    shares = shares_of((promise.arithmetic, promise.macs) for promise in promises)
    return Proof(source=Source.PROMISE, shares=shares, promised=shares)


def prove(promises: Sequence[Promise], layers: Sequence[EngineLayer], source: Source) -> Proof:
    """Finds each of the graph's layers among the engine's, and what it is computed in there.

    A list in which none of them is found proves nothing: the promise is given then.
    """
    found = [(promise, computed_in(promise, layers)) for promise in promises]
    unknown = tuple(promise.name for promise, got in found if got is Arithmetic.UNKNOWN)
    if len(unknown) == len(promises):
        return unproved(promises)
    less = [
        Shortfall(promise.name, promise.arithmetic, got)
        for promise, got in found
        if BITS.get(got, 0) > BITS.get(promise.arithmetic, 64)
    ]
    return Proof(
        source=source,
        shares=shares_of((got, promise.macs) for promise, got in found),
        promised=unproved(promises).promised,
        layers=sum(layer.works for layer in layers),
        reformats=sum(layer.only_converts for layer in layers),
        less=tuple(less),
        unknown=unknown,
    )


def computed_in(promise: Promise, layers: Sequence[EngineLayer]) -> Arithmetic:
    """The arithmetic of the engine's layers that multiply for one layer of the graph, the widest if there are several.

    It follows from what goes in, never from what comes out: integer Convs may write floats.
    """
    kinds = [_arithmetic(layer, promise) for layer in kernels_of(promise, layers)]
    return max(kinds, key=lambda kind: BITS.get(kind, 0), default=Arithmetic.UNKNOWN)


def kernels_of(promise: Promise, layers: Sequence[EngineLayer]) -> list[EngineLayer]:
    """The engine's layers that multiply for one layer of the graph: those by its name, else those it went into."""
    named = [layer for layer in layers if promise.name in layer.onnx or _is_named(layer, promise.name)]
    kernels = [layer for layer in named if _multiplies(layer)]
    kernels = [layer for layer in kernels if _is_named(layer, promise.name)] or kernels
    if kernels or not promise.weights:
        return kernels
    return [layer for layer in named if _weights(layer, promise) is not None and not layer.only_converts]


def check_proof(proof: Proof, graph: str) -> None:
    """The gate: raises GateError if the engine computes a layer in more bits than the graph promises."""
    if not proof.less:
        return
    named = [f"{found.name} ({found.got} instead of {found.promised})" for found in proof.less[:SHOWN]]
    more = len(proof.less) - SHOWN
    listed = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    worst = proof.less[0].promised.value
    got, promised = (100 * shares.get(worst, 0.0) for shares in (proof.shares, proof.promised))
    raise GateError(
        f"the engine computes {got:.1f} % of the MACs in {worst} ({proof.source}); {graph} promises {promised:.1f} %. "
        f"Less than promised: {listed}. No plan is written; `wrn-deploy lint {graph}` says what "
        "keeps layers from int8, and another TensorRT (--flavor) may have the kernels"
    )


def _is_named(layer: EngineLayer, name: str) -> bool:
    """Whether the layer has the node's name: one of several joined by " + ", or with a number of the compiler's."""
    parts = re.split(r" \+ |\|\|", layer.name)
    return name in parts or re.fullmatch(rf"{re.escape(name)}(_U\d+)?_myl\d+_\d+", layer.name) is not None


def _multiplies(layer: EngineLayer) -> bool:
    kind = layer.kind.lower()
    return any(word in kind for word in KINDS) or bool(STEPS & set(layer.steps))


def _weights(layer: EngineLayer, promise: Promise) -> Arithmetic | None:
    """The type of the layer's weights: the smallest fixed tensor that has as many elements, or more by padding."""
    fitting = [tensor for tensor in layer.weights if tensor.elements >= promise.weights > 0]
    return min(fitting, key=lambda tensor: tensor.elements).type if fitting else None


def _arithmetic(layer: EngineLayer, promise: Promise) -> Arithmetic:
    weights = _weights(layer, promise) or Arithmetic.UNKNOWN
    inputs = [tensor.type for tensor in layer.inputs if tensor.type is not Arithmetic.UNKNOWN]
    if weights in (Arithmetic.INT8, Arithmetic.FP8):  # integers only if the data are too: weights alone save memory
        return weights if weights in inputs or not inputs else inputs[0]
    if weights is not Arithmetic.UNKNOWN:
        return weights  # a Cast of the data may be part of the kernel
    return inputs[0] if inputs else Arithmetic.UNKNOWN
