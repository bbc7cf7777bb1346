"""What can be refused before PyTorch is imported, which takes seconds: names, weights, and the place for the bundle."""

from __future__ import annotations

import os
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.files.room import check_room
from wrn_deploy.models.checkpoints.foreign_files import check_kind
from wrn_deploy.models.known import check_name, parameters_of
from wrn_deploy.pipeline.networks.network import published_weights

__all__ = ["EXPORTED_BYTES", "TRAINED_BYTES", "check_bundle_room", "check_export", "count_parameters"]

EXPORTED_BYTES = 4 + 4 + 2  # a parameter: weights, the fp32 graph, the fp16 graph
TRAINED_BYTES = 4 * (1 + 1 + 2 + 2)  # weights, the best ones, a checkpoint with its momentum, and the next one


def check_export(model: str | None, weights: str | os.PathLike[str] | None, out: Path, *, bf16: bool = False) -> None:
    """Checks the network's name, that the weights are there, and that the bundle can be written to `out` and fits.

    Raises:
        DeployError: no such network or weights, another file, a place that cannot be written to, or too little room.
    """
    if model is not None:
        check_name(model)
    parameters = count_parameters(model, weights)
    check_room(out, parameters * (EXPORTED_BYTES + (2 if bf16 else 0)), "the bundle")


def count_parameters(model: str | None, weights: str | os.PathLike[str] | None) -> int:
    """About how many parameters a network has; 0 if neither its name nor a file says it.

    Raises:
        DeployError: no such weights.
    """
    source = None if weights is None else published_weights(os.fspath(weights), None)
    if weights is not None and source is None:
        check_kind(Path(weights))
    known = parameters_of(source.network if source is not None else model or "")
    if known is None and weights is not None and source is None:
        known = Path(weights).stat().st_size // 4
    return known or 0


def check_bundle_room(bundle: Bundle, share: float, what: str) -> None:
    """Checks that a step can write to the bundle, and that `share` of its fp32 graph's size is free."""
    graph = bundle.artifacts.get("onnx-fp32")
    check_room(bundle.folder, int(share * (graph.size_bytes if graph is not None else 0)), what)
