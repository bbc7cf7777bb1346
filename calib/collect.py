"""Runs the fp32 graph over calibration images and keeps the ranges of its tensors: one pass, flat memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.placement import calibrated_tensors
from wrn_deploy.calib.ranges import Histogram, Range
from wrn_deploy.errors import DeployError
from wrn_deploy.sessions import open_session

__all__ = ["collect_ranges"]

# Bytes of activations that are looked at together; sets the batch, so that memory is flat and the same for every
# network.
WORKING_SET = 192 * 2**20

Batch = npt.NDArray[np.float32]


def collect_ranges(
    graph: Path, images: Callable[[int], Iterator[Batch]], histograms: bool, threads: int | None
) -> dict[str, Range]:
    """The range of every tensor that a placement needs.

    Args:
        graph: the fp32 ONNX file.
        images: batch size -> normalised images, (N, 3, H, W); called once.
        histograms: whether the method needs them.
        threads: CPU threads (None: ONNX Runtime's choice).

    Raises:
        DeployError: an activation is not finite.
    """
    model = ir.load(graph)
    names = calibrated_tensors(model.graph)
    size = max(1, WORKING_SET // max(1, _expose(model, names)))
    session = open_session(ir.to_proto(model).SerializeToString(), threads)
    source = session.get_inputs()[0].name
    inner = [name for name in names if name != source]
    ranges = {name: Range(Histogram() if histograms else None) for name in names}
    for batch in images(size):
        if source in ranges:
            ranges[source].observe(source, batch)
        for name, values in zip(inner, session.run(inner, {source: batch}), strict=True):
            ranges[name].observe(name, values)
    if not any(found.values for found in ranges.values()):
        raise DeployError("calibration saw no image: expected at least one")
    return ranges


def _expose(model: ir.Model, names: Sequence[str]) -> int:
    """Makes the tensors outputs of the graph, in place; returns their bytes for one image."""
    graph = model.graph
    wanted = set(names)
    outputs = set(graph.outputs)
    exposed = [value for node in graph for value in node.outputs if value.name in wanted and value not in outputs]
    graph.outputs.extend(exposed)
    elements = sum(math.prod(_dimensions(value)) for value in exposed)
    return 4 * elements


def _dimensions(value: ir.Value) -> list[int]:
    """All but the batch; the exporter infers every shape."""
    assert value.shape is not None, f"{value.name} has no shape"
    return [int(dimension) for dimension in list(value.shape)[1:] if isinstance(dimension, int)]
