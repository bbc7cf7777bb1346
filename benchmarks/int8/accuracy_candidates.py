"""Makes one row of `accuracy.py`: ROW BUNDLE IMAGES; it writes to the working directory.

ROW is the name of a row of `rows.py`, BUNDLE may be changed (ours calibrates it), IMAGES is an .npz of uint8 images.
It writes the graphs and cost.json: CPU seconds of all its threads, and its peak memory.
"""

from __future__ import annotations

import dataclasses
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

from benchmarks.int8.peers import quantize_with_modelopt, quantize_with_onnxruntime
from benchmarks.int8.rows import ROWS, Maker
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.machine import peak_rss_bytes

MEMORY = 24 * 2**30  # bytes of address space: a candidate that needs more fails alone


def main() -> None:
    """Makes the row that the arguments name."""
    row_name, folder, images = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    row = next(row for row in ROWS if row.name == row_name)
    bundle = Bundle.open(Path(folder))
    fp32, name = bundle.file(bundle.artifacts["onnx-fp32"]), bundle.spec.input.name
    if row.maker is Maker.OURS:
        _ours(bundle, images, row.options)
    elif row.maker is Maker.ONNXRUNTIME:
        quantize_with_onnxruntime(fp32, name, _batches(bundle, images), **_static_options(row.options))
    else:
        quantize_with_modelopt(fp32, name, _batches(bundle, images), method=str(row.options["method"]))
    cost = {"cpu_s": round(time.process_time(), 2), "peak_rss_bytes": peak_rss_bytes()}
    Path("cost.json").write_text(json.dumps(cost), encoding="utf-8")


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


def _batches(bundle: Bundle, images: str) -> Iterator[npt.NDArray[np.float32]]:
    preprocessing = bundle.spec.preprocessing
    source = open_data(images, Role.TRAIN)
    return (normalize(batch.images, preprocessing) for batch in Batches(source, preprocessing, 1))


def _static_options(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A row's options as `quantize_static` takes them."""
    from onnxruntime.quantization import QuantType

    return {
        "method": wanted["method"],
        "op_types_to_quantize": wanted["operators"] or None,
        "per_channel": wanted["per_channel"],
        "activation_type": QuantType.QUInt8 if wanted["unsigned"] else QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "extra_options": {} if wanted["unsigned"] else {"ActivationSymmetric": True, "WeightSymmetric": True},
    }


if __name__ == "__main__":
    main()
