"""Runs the fp32 graph over calibration images and keeps the ranges of its tensors: one pass, flat memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
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
WORKING_SET = 64 * 2**20

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
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        exposed = Path(folder) / "exposed.onnx"  # a file, so that there are not several copies of it in memory
        names, image_bytes = _expose(graph, exposed)
        session = open_session(exposed, threads, plans_memory=False)
    size = max(1, WORKING_SET // max(1, image_bytes))
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


def _expose(file: Path, copy: Path) -> tuple[list[str], int]:
    """Writes a copy of the graph whose outputs are the tensors needed; returns their names, and bytes for one image."""
    model = ir.load(file)
    names = calibrated_tensors(model.graph)
    needed = set(names)
    exposed = [value for node in model.graph for value in node.outputs if value.name in needed]
    model.graph.outputs[:] = exposed
    ir.save(model, copy)
    return names, 4 * sum(math.prod(_dimensions(value)) for value in exposed)


def _dimensions(value: ir.Value) -> list[int]:
    """All but the batch; the exporter infers every shape."""
    assert value.shape is not None, f"{value.name} has no shape"
    return [int(dimension) for dimension in list(value.shape)[1:] if isinstance(dimension, int)]
