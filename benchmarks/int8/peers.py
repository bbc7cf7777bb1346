"""Calls the quantizers of others, ONNX Runtime's and ModelOpt's; both write int8.onnx to the working directory."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["quantize_with_modelopt", "quantize_with_onnxruntime"]

Images = Iterator[npt.NDArray[np.float32]]  # batches of one image


def quantize_with_onnxruntime(fp32: Path, name: str, images: Images, *, method: str, **options: Any) -> None:
    """Runs `quantize_static` on the images of the input `name`; `options` are its own."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one image after the other."""

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            """The next image; None at the end."""
            batch = next(images, None)
            return None if batch is None else {name: batch}

    kind = getattr(CalibrationMethod, method)
    quantize_static(fp32, "int8.onnx", Reader(), QuantFormat.QDQ, calibrate_method=kind, **options)


def quantize_with_modelopt(fp32: Path, name: str, images: Images, *, method: str) -> None:
    """Runs ModelOpt's `quantize` on the images of the input `name`; ModelOpt is in an environment of its own."""
    quantization: Any = importlib.import_module("modelopt.onnx.quantization")
    options = {"calibration_method": method, "calibration_eps": ["cpu"], "output_path": "int8.onnx"}
    quantization.quantize(str(fp32), "int8", {name: np.concatenate([*images])}, **options)
