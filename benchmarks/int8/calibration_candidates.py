"""Runs one candidate of `calibration.py`: NAME BUNDLE IMAGES; it writes to the working directory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.int8.peers import quantize_with_modelopt, quantize_with_onnxruntime
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize

MEMORY = 14 * 2**30  # bytes of address space: a candidate that needs more fails alone

Images = Callable[[int], Iterator[npt.NDArray[np.float32]]]


def main() -> None:
    """Runs the candidate that the arguments name."""
    candidate, bundle_folder, data = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    bundle = Bundle.open(Path(bundle_folder))
    source, preprocessing = open_data(data, Role.TRAIN), bundle.spec.preprocessing

    def images(size: int) -> Iterator[npt.NDArray[np.float32]]:
        return (normalize(batch.images, preprocessing) for batch in Batches(source, preprocessing, size))

    kind, _, method = candidate.partition(" ")
    graphs = (bundle.file(bundle.artifacts["onnx-fp32"]), bundle.file(bundle.artifacts["onnx-fp16"]))
    if kind == "fp32":
        _plain(graphs[0], images, 1 if "1 thread" in candidate else None)
    elif kind == "ours":
        _ours(graphs, images, method)
    elif kind == "onnxruntime":
        quantize_with_onnxruntime(graphs[0], bundle.spec.input.name, images(1), method=method, per_channel=True)
    else:
        quantize_with_modelopt(graphs[0], bundle.spec.input.name, images(1), method=method)


def _plain(fp32: Path, images: Images, threads: int | None) -> None:
    from wrn_deploy.runtime.sessions import infer_with, open_session

    infer = infer_with(open_session(fp32, threads))
    for batch in images(1):
        infer(batch)


def _ours(graphs: tuple[Path, Path], images: Images, name: str) -> None:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collect import collect_ranges
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.calib.writing.for_onnxruntime import quantize_for_onnxruntime
    from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
    from wrn_deploy.plugins import load_plugin

    method = load_plugin("wrn_deploy.calib.methods", name)

    def threshold(histogram: Any, amax: float) -> float:
        return float(method.threshold(histogram, amax, 99.99))

    tensors = {}
    for tensor, found in collect_ranges(graphs[0], images(1), histograms=method.NEEDS_HISTOGRAM, threads=None).items():
        found.disagreement(threshold)
        tensors[tensor] = found.whole.clipped(threshold)
    table = CalibrationTable(
        method=name, percentile=None, data="", data_digest="", images=0, graph_sha256="", tensors=tensors
    )
    fp32 = ir.load(graphs[0])
    ir.save(quantize_for_tensorrt(fp32, ir.load(graphs[1]), table), Path("int8-tensorrt.onnx"))
    ir.save(quantize_for_onnxruntime(fp32, table), Path("int8-onnxruntime.onnx"))


if __name__ == "__main__":
    main()
