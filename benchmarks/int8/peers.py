"""Calls the quantizers of others in their environments; each writes int8.onnx to the working directory."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.int8.rows import Maker

__all__ = ["LIBRARIES", "QUANTIZERS"]

Images = Iterator[npt.NDArray[np.float32]]  # batches of one image
OUTPUT = "int8.onnx"

# What a quantizer imports: loaded before the first image is read, so that the start can be told from the work.
LIBRARIES: Mapping[Maker, tuple[str, ...]] = {
    Maker.FP32: ("wrn_deploy.runtime.sessions", "onnxruntime"),
    Maker.RANGES: ("onnx_ir", "onnxruntime", "wrn_deploy.calib.collection.collect"),
    Maker.OURS: ("wrn_deploy.pipeline.quantization.calibrate", "onnx_ir", "onnxruntime"),
    Maker.ONNXRUNTIME: ("onnxruntime.quantization",),
    Maker.NNCF: ("onnx", "onnx.utils", "onnxruntime", "nncf", "nncf.onnx.quantization.quantize_model"),
    Maker.MODELOPT: ("modelopt.onnx.quantization",),
    Maker.AIMET: ("onnx", "aimet_onnx", "aimet_onnx.cross_layer_equalization"),
}


def _onnxruntime(
    fp32: Path, name: str, images: Images, *, method: str, operators: list[str], per_channel: bool, unsigned: bool
) -> None:
    """Runs `quantize_static` on the images of the input `name`."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one image after the other."""

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            """The next image; None at the end."""
            batch = next(images, None)
            return None if batch is None else {name: batch}

    quantize_static(
        fp32,
        OUTPUT,
        Reader(),
        QuantFormat.QDQ,
        calibrate_method=getattr(CalibrationMethod, method),
        op_types_to_quantize=operators or None,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={} if unsigned else {"ActivationSymmetric": True, "WeightSymmetric": True},
    )


def _modelopt(fp32: Path, name: str, images: Images, *, method: str) -> None:
    """Runs ModelOpt's `quantize`, which has symmetric int8 alone."""
    quantization: Any = importlib.import_module("modelopt.onnx.quantization")
    options = {"calibration_method": method, "calibration_eps": ["cpu"], "output_path": OUTPUT}
    quantization.quantize(str(fp32), "int8", {name: np.concatenate([*images])}, **options)


def _nncf(fp32: Path, name: str, images: Images, *, fast: bool, preset: str) -> None:
    """Runs `nncf.quantize` with fast or full bias correction.

    NNCF 3.4 corrects only biases that are there, so that each Conv without one gets a bias of zeros.
    """
    nncf: Any = importlib.import_module("nncf")
    onnx: Any = importlib.import_module("onnx")
    if not fast:
        _repair_full_correction()
    model = onnx.load(fp32)
    _add_zero_biases(onnx, model)
    kept = [*images]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(kept, lambda image: {name: image}),
        preset=nncf.QuantizationPreset(preset),
        target_device=nncf.TargetDevice.ANY,
        subset_size=len(kept),
        fast_bias_correction=fast,
        model_type=None,
    )
    onnx.save(quantized, OUTPUT)


def _add_zero_biases(onnx: Any, model: Any) -> None:
    shapes = {weight.name: weight.dims for weight in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) == 2:
            bias = np.zeros(shapes[node.input[1]][0], dtype=np.float32)
            node.input.append(f"{node.output[0]}.zero_bias")
            model.graph.initializer.append(onnx.numpy_helper.from_array(bias, node.input[2]))


def _repair_full_correction() -> None:
    """Makes NNCF 3.4's full bias correction run on residual nets.

    It cuts a part out of the graph for each Conv, and names a tensor that two Convs read twice among the inputs, which
    ONNX Runtime refuses; and it asks for outputs that ONNX Runtime's optimisations have fused away.
    """
    onnx_utils: Any = importlib.import_module("onnx.utils")
    ort: Any = importlib.import_module("onnxruntime")
    extract: Callable[[Any, Iterable[str], Iterable[str]], Any] = onnx_utils.Extractor.extract_model
    new_options: Callable[[], Any] = ort.SessionOptions

    def extract_once(self: Any, inputs: Iterable[str], outputs: Iterable[str]) -> Any:
        return extract(self, [*dict.fromkeys(inputs)], [*dict.fromkeys(outputs)])

    def unoptimised() -> Any:
        options = new_options()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return options

    onnx_utils.Extractor.extract_model = extract_once
    ort.SessionOptions = unoptimised


def _aimet(fp32: Path, name: str, images: Images, *, scheme: str, equalize: bool, unsigned: bool) -> None:
    """Runs AIMET's QuantizationSimModel with one weight scale per channel, after its `equalize_model` if asked.

    `unsigned` is its default, asymmetric activations; otherwise they are symmetric.
    """
    aimet: Any = importlib.import_module("aimet_onnx")
    onnx: Any = importlib.import_module("onnx")
    known: Any = importlib.import_module("aimet_onnx.common.quantsim_config.utils")
    config = json.loads(Path(known.get_path_for_per_channel_config()).read_text(encoding="utf-8"))
    config["defaults"]["ops"]["is_symmetric"] = str(not unsigned)
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")
    model = onnx.load(fp32)
    if equalize:
        importlib.import_module("aimet_onnx.cross_layer_equalization").equalize_model(model)
    simulation = aimet.QuantizationSimModel(model, quant_scheme=scheme, config_file=str(Path("config.json").absolute()))
    simulation.compute_encodings([{name: image} for image in images])
    kind = "unsigned" if unsigned else "signed"
    onnx.save(simulation.to_onnx_qdq(prequantize_constants=True, force_activation_as=kind), OUTPUT)


QUANTIZERS: Mapping[Maker, Callable[..., None]] = {
    Maker.ONNXRUNTIME: _onnxruntime,
    Maker.NNCF: _nncf,
    Maker.MODELOPT: _modelopt,
    Maker.AIMET: _aimet,
}
