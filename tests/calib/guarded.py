"""Calibrates a graph on some images without the pipeline, for the tests of the guards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.calib.collection.ranges import Histogram
from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.guard import Calibrated
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.plugins import load_plugin

__all__ = ["calibrated", "images_of"]


def images_of(folder: Path, data: str, count: int) -> npt.NDArray[np.float32]:
    """Some training images, normalised for the bundle in `folder`."""
    preprocessing = Bundle.open(folder).spec.preprocessing
    batch = next(iter(Batches(even_sample(open_data(data, Role.TRAIN), count), preprocessing, count)))
    return normalize(batch.images, preprocessing)


def calibrated(
    graph: Path, images: npt.NDArray[np.float32], method: str = "percentile", percentile: float = 99.99
) -> Calibrated:
    """The calibration of the fp32 graph in a file, as the guards check it: not equalised, on all images."""
    plugin = load_plugin("wrn_deploy.calib.methods", method)

    def threshold(histogram: Histogram | None, amax: float) -> float:
        return float(plugin.threshold(histogram, amax, percentile))

    ranges = collect_ranges(ObservedGraph(graph), [images], histograms=True, threads=1)
    tensors = {name: found.whole.clipped(threshold) for name, found in ranges.items()}
    table = CalibrationTable(
        method=method,
        percentile=percentile if method == "percentile" else None,
        data="data",
        data_digest="",
        images=len(images),
        graph_sha256="",
        tensors=tensors,
    )
    return Calibrated(
        graph=ir.load(graph).graph,
        ranges=ranges,
        table=table,
        threshold=threshold,
        equalized=False,
        available=len(images),
    )
