"""How a bundle shows that its int8 graph for TensorRT was tuned; what tuning is, is in `tune.py`."""

from __future__ import annotations

from wrn_deploy.bundle import Artifact

__all__ = ["GRAPH", "OPTION", "UNTUNED", "is_tuned"]

GRAPH = "onnx-int8-tensorrt"  # what tuning changes
UNTUNED = "onnx-int8-untuned"  # where it keeps the graph with all Convs in int8, which calibration had made
OPTION = "tune"  # in the tuned graph's recipe: what was asked for


def is_tuned(graph: Artifact | None) -> bool:
    """Whether tuning made this int8 graph; None: the bundle has none."""
    return graph is not None and OPTION in graph.recipe.options
