"""Compares the precision that a graph asks for with the layers of its engine: the arithmetic of each multiplication."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wrn_deploy.engines.layers import Arithmetic, EngineLayer
from wrn_deploy.engines.promise import ExpectedPrecision, shares_of
from wrn_deploy.errors import GateError

__all__ = [
    "HigherPrecision", "PrecisionReport", "Source", "check_precision", "computed_in", "kernels_of", "prove", "unproved",
]  # fmt: skip

SHOWN = 5  # layers that a text lists
BITS = {Arithmetic.INT8: 8, Arithmetic.FP8: 8, Arithmetic.BF16: 16, Arithmetic.FP16: 16, Arithmetic.FP32: 32}
KINDS = ("conv", "correlation", "gemm", "matmul", "matrixmultiply", "fullyconnected")
STEPS = frozenset({"Conv", "Corr", "Dot", "Fc", "Gemm"})  # what a compiled kernel that multiplies has in its name


class Source(StrEnum):
    """Where the layers were read: in the engine, in the builder's log, or nowhere, so that the graph alone is known."""

    INSPECTOR = "inspector"
    LOG = "builder log"
    GRAPH = "graph"


@dataclass(frozen=True, slots=True)
class HigherPrecision:
    """A layer that the engine computes in more bits than the graph asks for."""

    name: str
    expected: Arithmetic
    actual: Arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionReport:
    """The arithmetic of an engine's multiplications.

    Attributes:
        source: where the engine's layers were read.
        shares: the fraction of all multiply-accumulates in each arithmetic, in the engine.
        expected: the same, as the graph asks for.
        layers: how many layers run; None if they cannot be read.
        reformats: how many of them only change a type or a layout; None if they cannot be read.
        higher_precision: the graph's layers that the engine computes in more bits than the graph asks for.
        unknown: the graph's layers that were not found in the engine.
    """

    source: Source
    shares: Mapping[str, float]
    expected: Mapping[str, float]
    layers: int | None = None
    reformats: int | None = None
    higher_precision: tuple[HigherPrecision, ...] = ()
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The entry of the manifest, with fractions to six digits."""
        record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for name in ("shares", "expected"):
            record[name] = {kind: round(fraction, 6) for kind, fraction in record[name].items()}
        return record


def unproved(expected: Sequence[ExpectedPrecision]) -> PrecisionReport:
    """What the graph asks for, if no layers of the engine can be read."""
    shares = shares_of((node.arithmetic, node.macs) for node in expected)
    return PrecisionReport(source=Source.GRAPH, shares=shares, expected=shares)


def prove(expected: Sequence[ExpectedPrecision], layers: Sequence[EngineLayer], source: Source) -> PrecisionReport:
    """Finds each of the graph's layers among the engine's, and the arithmetic it is computed in there.

    If none of them is found, the list proves nothing: the result is that of `unproved`.
    """
    found = [(node, computed_in(node, layers)) for node in expected]
    unknown = tuple(node.name for node, actual in found if actual is Arithmetic.UNKNOWN)
    if len(unknown) == len(expected):
        return unproved(expected)
    return PrecisionReport(
        source=source,
        shares=shares_of((actual, node.macs) for node, actual in found),
        expected=unproved(expected).expected,
        layers=sum(layer.works for layer in layers),
        reformats=sum(layer.only_converts for layer in layers),
        higher_precision=tuple(
            HigherPrecision(node.name, node.arithmetic, actual)
            for node, actual in found
            if BITS.get(actual, 0) > BITS.get(node.arithmetic, 64)
        ),
        unknown=unknown,
    )


def computed_in(node: ExpectedPrecision, layers: Sequence[EngineLayer]) -> Arithmetic:
    """The arithmetic of the engine's layers that multiply for one layer of the graph; the widest if there are several.

    It follows from their inputs, never from their outputs: integer Convs may write floats.
    """
    kinds = [_arithmetic(layer, node) for layer in kernels_of(node, layers)]
    return max(kinds, key=lambda kind: BITS.get(kind, 0), default=Arithmetic.UNKNOWN)


def kernels_of(node: ExpectedPrecision, layers: Sequence[EngineLayer]) -> list[EngineLayer]:
    """The engine's layers that multiply for one layer of the graph: those of its name, else those it was fused into."""
    named = [layer for layer in layers if node.name in layer.onnx or _is_named(layer, node.name)]
    kernels = [layer for layer in named if _multiplies(layer)]
    kernels = [layer for layer in kernels if _is_named(layer, node.name)] or kernels
    if kernels or not node.weights:
        return kernels
    return [layer for layer in named if _weights(layer, node) is not None and not layer.only_converts]


def check_precision(report: PrecisionReport, graph: str) -> None:
    """The gate: raises GateError if the engine computes a layer in more bits than the graph asks for."""
    if not report.higher_precision:
        return
    named = [f"{layer.name} ({layer.actual} instead of {layer.expected})" for layer in report.higher_precision[:SHOWN]]
    more = len(report.higher_precision) - SHOWN
    listed = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    worst = report.higher_precision[0].expected.value
    actual, expected = (100 * shares.get(worst, 0.0) for shares in (report.shares, report.expected))
    raise GateError(
        f"the engine computes {actual:.1f} % of the MACs in {worst} ({report.source}); {graph} requests "
        f"{expected:.1f} %. In more bits than expected: {listed}. No plan is written; `wrn-deploy lint {graph}` lists "
        "what keeps layers from int8, and another TensorRT (--flavor) may have the kernels"
    )


def _is_named(layer: EngineLayer, name: str) -> bool:
    """Whether the layer has the node's name: one of several joined by " + ", or with a number of the compiler's."""
    parts = re.split(r" \+ |\|\|", layer.name)
    return name in parts or re.fullmatch(rf"{re.escape(name)}(_U\d+)?_myl\d+_\d+", layer.name) is not None


def _multiplies(layer: EngineLayer) -> bool:
    kind = layer.kind.lower()
    return any(word in kind for word in KINDS) or bool(STEPS & set(layer.steps))


def _weights(layer: EngineLayer, node: ExpectedPrecision) -> Arithmetic | None:
    """The type of the layer's weights: the smallest fixed tensor that has as many elements, or more by padding."""
    fitting = [tensor for tensor in layer.weights if tensor.elements >= node.weights > 0]
    return min(fitting, key=lambda tensor: tensor.elements).type if fitting else None


def _arithmetic(layer: EngineLayer, node: ExpectedPrecision) -> Arithmetic:
    weights = _weights(layer, node) or Arithmetic.UNKNOWN
    inputs = [tensor.type for tensor in layer.inputs if tensor.type is not Arithmetic.UNKNOWN]
    if weights in (Arithmetic.INT8, Arithmetic.FP8):  # integers only if the data are too: weights alone save memory
        return weights if weights in inputs or not inputs else inputs[0]
    if weights is not Arithmetic.UNKNOWN:
        return weights  # a Cast of the data may be part of the kernel
    return inputs[0] if inputs else Arithmetic.UNKNOWN
