"""Runs one row of `rows.py` in this process: ROW BUNDLE IMAGES; it writes to the working directory.

ROW is the row's name, BUNDLE may be changed (ours calibrates it), IMAGES is any source of images. It writes the graphs
and cost.json: CPU seconds of the start (Python and the imports), and the peak memory. It runs in the peers'
environments too, so it imports nothing but the standard library, numpy and what reads images; its row imports the rest.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.int8.peers import LIBRARIES, QUANTIZERS
from benchmarks.int8.rows import ROWS, Maker
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.machine import peak_rss_bytes

MEMORY = 20 * 2**30  # bytes of address space: a candidate that needs more fails alone


def main() -> None:
    """Runs the row that the arguments name."""
    row_name, folder, images = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    row = next(row for row in ROWS if row.name == row_name)
    for library in LIBRARIES[row.maker]:
        importlib.import_module(library)
    for place, value in row.constants.items():
        set_constant(place, value)
    start_cpu_s = time.process_time()
    bundle = Bundle.open(Path(folder))
    fp32 = bundle.file(bundle.artifacts["onnx-fp32"])
    if row.maker is Maker.OURS:
        _ours(bundle, images, row.options)
    elif row.maker is Maker.FP32:
        _plain(fp32, _batches(bundle, images), **row.options)
    elif row.maker is Maker.RANGES:
        fp16 = bundle.file(bundle.artifacts["onnx-fp16"])
        _ranges(fp32, fp16, _batches(bundle, images), **row.options)
    else:
        QUANTIZERS[row.maker](fp32, bundle.spec.input.name, _batches(bundle, images), **row.options)
    cost = {"start_cpu_s": round(start_cpu_s, 2), "peak_rss_bytes": peak_rss_bytes()}
    Path("cost.json").write_text(json.dumps(cost), encoding="utf-8")


def set_constant(place: str, value: int) -> None:
    """Sets the constant "module:NAME" in this process; exits if there is none."""
    module_name, _, name = place.partition(":")
    module = importlib.import_module(module_name)
    if not hasattr(module, name):
        sys.exit(f"{module_name} has no constant {name}")
    setattr(module, name, value)


def _batches(bundle: Bundle, images: str) -> Iterator[npt.NDArray[np.float32]]:
    preprocessing = bundle.spec.preprocessing
    source = open_data(images, Role.TRAIN)
    return (normalize(batch.images, preprocessing) for batch in Batches(source, preprocessing, 1))


def _ours(bundle: Bundle, images: str, wanted: Mapping[str, object]) -> None:
    from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
    from wrn_deploy.progress import Silent

    options: Any = CalibrateOptions(data=images, size=len(open_data(images, Role.TRAIN)))
    for name, value in wanted.items():
        options = _with(options, name, value)
    calibrate_bundle(bundle, options, Silent())
    for file in ("int8-tensorrt.onnx", "int8-onnxruntime.onnx"):
        shutil.copy(bundle.folder / file, file)


def _with(options: Any, name: str, value: object) -> Any:
    """Changes one field of the options, also of options within them; a text becomes a member of the field's StrEnum."""
    for field in dataclasses.fields(options):
        found = getattr(options, field.name)
        if field.name == name:
            kind = type(found)
            return dataclasses.replace(options, **{name: kind(value) if isinstance(found, str) else value})
        if dataclasses.is_dataclass(found) and name in {inner.name for inner in dataclasses.fields(found)}:
            return dataclasses.replace(options, **{field.name: _with(found, name, value)})
    return sys.exit(f"this version has no option {name}")


def _plain(fp32: Path, images: Iterator[npt.NDArray[np.float32]], threads: Any = None) -> None:
    from wrn_deploy.runtime.sessions import infer_with, open_session

    infer = infer_with(open_session(fp32, threads))
    for batch in images:
        infer(batch)


def _ranges(fp32_file: Path, fp16_file: Path, images: Iterator[npt.NDArray[np.float32]], method: Any) -> None:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.calib.writing.for_onnxruntime import quantize_for_onnxruntime
    from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
    from wrn_deploy.plugins import load_plugin

    calibrator = load_plugin("wrn_deploy.calib.methods", method)

    def threshold(histogram: Any, amax: float) -> float:
        return float(calibrator.threshold(histogram, amax, 99.99))

    tensors = {}
    ranges = collect_ranges(ObservedGraph(fp32_file), images, histograms=calibrator.NEEDS_HISTOGRAM, threads=None)
    for tensor, found in ranges.items():
        found.disagreement(threshold)
        tensors[tensor] = found.whole.clipped(threshold)
    table = CalibrationTable(
        method=method, percentile=None, data="", data_digest="", images=0, graph_sha256="", tensors=tensors
    )
    fp32 = ir.load(fp32_file)
    ir.save(quantize_for_tensorrt(fp32, ir.load(fp16_file), table), Path("int8-tensorrt.onnx"))
    ir.save(quantize_for_onnxruntime(fp32, table), Path("int8-onnxruntime.onnx"))


if __name__ == "__main__":
    main()
