"""What `inspect` finds in a bundle, a graph or a plan, as data, and its gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wrn_deploy.errors import GateError

if TYPE_CHECKING:
    from wrn_deploy.engines.layers import EngineLayer

__all__ = ["BundleView", "EntryView", "GraphView", "PlanView", "check_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """One artifact.

    `state`: "ok", or the code of the error that keeps it from being used: "missing", "stale", "damaged", "over-limit".
    `problem`: why it cannot be used; None: it and all that it was made from are whole.
    """

    key: str
    kind: str
    precision: str
    path: str
    size_bytes: int
    parents: tuple[str, ...]
    options: Mapping[str, Any]
    state: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class BundleView:
    """A bundle and its artifacts, in the order in which they are made."""

    folder: str
    model: str
    random_weights: bool
    artifacts: tuple[EntryView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView:
    """An ONNX graph.

    `inputs` and `outputs` have name, type and shape; `parameters` are the elements of its initializers but for scales
    and zero points; `macs` are for one image (None: a shape is unknown), `fractions` their parts by arithmetic.
    """

    file: str
    size_bytes: int
    producer: str
    opset: int
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    nodes: Mapping[str, int]
    parameters: int
    macs: int | None
    fractions: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """A plan.

    `flavor`: what its first bytes say; None: nothing known. `facts`: from the manifest beside it; empty: it is not in a
    bundle. `problem`: why it cannot be used. `layers`: what the engine reports. `missing`: why there are no layers.
    """

    file: str
    size_bytes: int
    flavor: str | None
    bundle: str | None
    key: str | None
    facts: Mapping[str, Any]
    proof: Mapping[str, Any]
    problem: str | None
    layers: tuple[EngineLayer, ...]
    missing: str | None


def check_view(view: BundleView | GraphView | PlanView) -> None:
    """The gate: raises GateError for a bundle with artifacts that cannot be used, or a plan that cannot be."""
    if isinstance(view, PlanView) and view.problem is not None:
        raise GateError(f"{view.file} cannot be used: {view.problem}")
    if not isinstance(view, BundleView):
        return
    unusable = [entry.path for entry in view.artifacts if entry.problem is not None]
    if unusable:
        raise GateError(
            f"{view.folder}: {len(unusable)} of {len(view.artifacts)} artifacts cannot be used "
            f"({', '.join(unusable)}): expected all to be intact and up to date; run the commands that `inspect` lists"
        )
