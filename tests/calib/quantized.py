"""A calibrated and quantized network for the tests of the accuracy techniques: made as the pipeline makes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.calib.collection.ranges import Range, Unit
from wrn_deploy.calib.collection.table import CalibrationTable, Equalization
from wrn_deploy.calib.equalization.equalize import equalize, find_equalization
from wrn_deploy.calib.writing.exact_input import PIXELS, RANGE, read_pixels
from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
from wrn_deploy.export.half import convert_fp16
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import Preprocessing

Images = npt.NDArray[np.float32]


def ranges_of(
    model: ir.Model, images: Images, folder: Path, *, histograms: bool = False, units: Mapping[str, Unit] | None = None
) -> dict[str, Range]:
    file = folder / "ranges.onnx"
    ir.save(model, file)
    return collect_ranges(ObservedGraph(file), [images], histograms=histograms, threads=1, units=units)


def equalized_graph(model: ir.Model, images: Images, folder: Path) -> ir.Model:
    return equalize(model, find_equalization(model.graph, ranges_of(model, images, folder)))


def with_biases(model: ir.Model) -> ir.Model:
    """As it is, but that every Conv has a bias, as quantized graphs are made from."""
    return equalize(model, Equalization())


def quantized(
    model: ir.Model, images: Images, folder: Path, preprocessing: Preprocessing | None = None, per_channel: bool = True
) -> tuple[ir.Model, ir.Model]:
    """The fp32 graph that is quantized, and its int8 graph for TensorRT; with `preprocessing`, it reads pixels."""
    ranges = ranges_of(model, images, folder)
    tensors = {name: kept.whole.clipped(lambda _histogram, amax: amax) for name, kept in ranges.items()}
    table = CalibrationTable(
        method="max",
        percentile=None,
        data="digits",
        data_digest="0" * 64,
        images=len(images),
        graph_sha256="0" * 64,
        tensors={**tensors, PIXELS: RANGE},
    )
    source = model if preprocessing is None else read_pixels(model, preprocessing)
    return source, quantize_for_tensorrt(source, convert_fp16(source), table, per_channel=per_channel)


def logits(model: ir.Model, images: Images) -> Images:
    return infer_with(open_session(ir.to_proto(model).SerializeToString(), 1))(images)


def error(model: ir.Model, wanted: ir.Model, images: Images) -> float:
    """The mean squared difference of the logits."""
    return float(((logits(model, images) - logits(wanted, images)) ** 2).mean())
