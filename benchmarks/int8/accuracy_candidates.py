"""One contender of `accuracy.py` in a process of its own: ROW BUNDLE IMAGES; it writes to the working directory.

ROW is the name of a row of `rows.py`, BUNDLE is changed (ours calibrates it), IMAGES is an .npz of uint8 images.
Besides the graphs it writes cost.json: CPU seconds of all its threads, and its peak memory.
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

from benchmarks.int8.rows import ROWS, Maker
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.machine import peak_rss_bytes

MEMORY = 24 * 2**30  # of addresses: a contender that needs more fails, and does not take the machine with it


def main() -> None:
    """Runs the contender that the arguments name."""
    name, folder, images = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    row = next(row for row in ROWS if row.name == name)
    bundle = Bundle.open(Path(folder))
    if row.maker is Maker.OURS:
        _ours(bundle, images, row.options)
    elif row.maker is Maker.ONNXRUNTIME:
        _onnxruntime(bundle, images, row.options)
    else:
        _modelopt(bundle, images, row.options)
    cost = {"cpu_s": round(time.process_time(), 2), "peak_rss_bytes": peak_rss_bytes()}
    Path("cost.json").write_text(json.dumps(cost), encoding="utf-8")


def _ours(bundle: Bundle, images: str, wanted: Mapping[str, object]) -> None:
    from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
    from wrn_deploy.progress import Silent

    options: Any = CalibrateOptions(images, size=len(open_data(images, Role.TRAIN)))
    for name, value in wanted.items():
        options = _with(options, name, value)
    calibrate_bundle(bundle, options, Silent())
    for file in ("int8-tensorrt.onnx", "int8-onnxruntime.onnx"):
        shutil.copy(bundle.folder / file, file)


def _with(options: Any, name: str, value: object) -> Any:
    """The options with one field changed, wherever it is in them; a text becomes a member of the field's StrEnum."""
    for field in dataclasses.fields(options):
        found = getattr(options, field.name)
        if field.name == name:
            kind = type(found)
            return dataclasses.replace(options, **{name: kind(value) if isinstance(found, str) else value})
        if dataclasses.is_dataclass(found) and name in {inner.name for inner in dataclasses.fields(found)}:
            return dataclasses.replace(options, **{field.name: _with(found, name, value)})
    return sys.exit(f"this version has no option {name}")


def _batches(bundle: Bundle, images: str) -> Iterator[npt.NDArray[np.float32]]:
    how = bundle.spec.preprocessing
    return (normalize(batch.images, how) for batch in Batches(open_data(images, Role.TRAIN), how, 1))


def _onnxruntime(bundle: Bundle, images: str, wanted: Mapping[str, Any]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """One image after the other."""

        def __init__(self) -> None:
            self.batches = _batches(bundle, images)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            """The next one; None at the end."""
            batch = next(self.batches, None)
            return None if batch is None else {bundle.spec.input.name: batch}

    symmetric = {} if wanted["unsigned"] else {"ActivationSymmetric": True, "WeightSymmetric": True}
    quantize_static(
        bundle.file(bundle.artifacts["onnx-fp32"]),
        "int8.onnx",
        Reader(),
        QuantFormat.QDQ,
        op_types_to_quantize=wanted["operators"] or None,
        per_channel=wanted["per_channel"],
        activation_type=QuantType.QUInt8 if wanted["unsigned"] else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, wanted["method"]),
        extra_options=symmetric,
    )


def _modelopt(bundle: Bundle, images: str, wanted: Mapping[str, Any]) -> None:
    quantization: Any = importlib.import_module("modelopt.onnx.quantization")  # it is in another environment
    every = {bundle.spec.input.name: np.concatenate([*_batches(bundle, images)])}
    options = {"calibration_eps": ["cpu"], "output_path": "int8.onnx", **wanted}
    quantization.quantize(str(bundle.file(bundle.artifacts["onnx-fp32"])), "int8", every, **options)


if __name__ == "__main__":
    main()
