"""Makes a bundle's int8 graphs from its calibration table: places Q/DQ for each target and rounds the weights."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.options import Rounding, WeightScales
from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec, Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.pipeline.quantization.images import CalibrationImages

__all__ = ["Quantization", "Rounding", "WeightScales", "mixed_graph", "write_graphs"]

ROUNDING_BYTES = 64 * 2**20  # of one tensor's values that rounding may keep: all images of 32x32, about 20 of 224x224
MIN_IMAGES = 8  # that rounding uses, however large they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """The techniques that keep accuracy when int8 graphs are written; docs/int8.md has the gain and cost of each.

    Attributes:
        exact_input: give the first Conv of the TensorRT graph the pixels' own codes.
        weights: what has a weight scale of its own.
        bias_correction: correct the mean of each output channel by the bias, for TensorRT.
        rounding: how weights become integers.
        learning_steps: the steps of `Rounding.LEARNED`.
    """

    exact_input: bool = True
    weights: WeightScales = WeightScales.CHANNEL
    bias_correction: bool = False
    rounding: Rounding = Rounding.FEEDBACK
    learning_steps: int = 600

    def __post_init__(self) -> None:
        if self.learning_steps < 1:
            raise UsageError(f"--learning-steps {self.learning_steps}: expected at least 1")

    def describe(self) -> dict[str, Any]:
        """Everything that the graphs depend on, in JSON types."""
        described = dataclasses.asdict(self)
        if self.rounding is not Rounding.LEARNED:
            del described["learning_steps"]
        return described

    @property
    def needs_images(self) -> bool:
        """Whether it needs calibration images, besides the table."""
        return self.bias_correction or self.rounding is not Rounding.NEAREST


def write_graphs(
    equalized: ir.Model, table: CalibrationTable, images: CalibrationImages, progress: Progress
) -> dict[str, ir.Model]:
    """The int8 graphs by artifact key, with the techniques in the options of `images`.

    Args:
        equalized: the bundle's fp32 graph, equalized by the table.
        table: the tensors' ranges.
        images: those that were calibrated on; the first of them are used for rounding.
        progress: advances with each Conv or step.
    """
    from wrn_deploy.calib.writing.fold_strides import fold_strides
    from wrn_deploy.calib.writing.for_onnxruntime import integer_norms, quantize_for_onnxruntime

    quantization, preprocessing = images.options.quantization, images.preprocessing
    per_channel = quantization.weights is WeightScales.CHANNEL
    source, for_tensorrt = _for_tensorrt(
        equalized, table, preprocessing, exact_input=quantization.exact_input, per_channel=per_channel
    )
    for_onnxruntime = quantize_for_onnxruntime(equalized, table)
    if quantization.needs_images:
        chosen = images.first(_images_for_rounding(equalized, len(images.digests)))
        _round("TensorRT", for_tensorrt, fp32=source, images=chosen, quantization=quantization, progress=progress)
        # Bias correction and learning are left out for ONNX Runtime: measured, its finer activations gain nothing.
        rounding = Rounding.FEEDBACK if quantization.rounding is Rounding.LEARNED else quantization.rounding
        simpler = dataclasses.replace(quantization, bias_correction=False, rounding=rounding)
        _round("ONNX Runtime", for_onnxruntime, fp32=equalized, images=chosen, quantization=simpler, progress=progress)
    return {"onnx-int8-tensorrt": for_tensorrt, "onnx-int8-onnxruntime": fold_strides(integer_norms(for_onnxruntime))}


def mixed_graph(
    base: ir.Model, float_convs: Collection[str], *, fp32: ir.Model, table: CalibrationTable, spec: ModelSpec
) -> ir.Model:
    """The graph for TensorRT, without an interface, with these Convs in fp16.

    The other Convs keep the codes and biases that they have in `base`, in which all are int8. `fp32` is equalized by
    the table.
    """
    from wrn_deploy.calib.writing.exact_input import PIXELS
    from wrn_deploy.calib.writing.int8_weights import copy_rounding

    exact_input = any(value.name == PIXELS for node in base.graph for value in node.outputs)
    _, graph = _for_tensorrt(fp32, table, spec.preprocessing, exact_input=exact_input, float_convs=float_convs)
    copy_rounding(base, graph)
    return graph


def _images_for_rounding(fp32: ir.Model, count: int) -> int:
    """How many of `count` images rounding uses: as many as fit into ROUNDING_BYTES with their largest tensor."""
    shapes = [value.shape for node in fp32.graph for value in node.outputs if value.shape is not None]
    largest = max(int(np.prod([size for size in shape if isinstance(size, int)])) for shape in shapes)
    return min(count, max(MIN_IMAGES, ROUNDING_BYTES // (4 * largest)))


def _for_tensorrt(
    equalized: ir.Model,
    table: CalibrationTable,
    preprocessing: Preprocessing,
    *,
    exact_input: bool,
    per_channel: bool = True,
    float_convs: Collection[str] = (),
) -> tuple[ir.Model, ir.Model]:
    """The fp32 graph that the int8 graph is made from, and the int8 graph."""
    from wrn_deploy.calib.writing.exact_input import PIXELS, RANGE, read_pixels
    from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
    from wrn_deploy.export.half import convert_fp16

    source = read_pixels(equalized, preprocessing) if exact_input else equalized
    with_pixels = dataclasses.replace(table, tensors={**table.tensors, PIXELS: RANGE})
    return source, quantize_for_tensorrt(
        source, convert_fp16(source), with_pixels, float_convs, per_channel=per_channel
    )


def _round(
    target: str,
    int8: ir.Model,
    *,
    fp32: ir.Model,
    images: npt.NDArray[np.float32],
    quantization: Quantization,
    progress: Progress,
) -> None:
    """Rounds the weights of the int8 graph again, in place."""
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "export", f"--rounding {quantization.rounding} (`nearest` needs none)")
    import torch

    from wrn_deploy.calib.rounding.feedback import correct
    from wrn_deploy.calib.rounding.learned import Learning, learn_rounding
    from wrn_deploy.calib.writing.int8_weights import find_int8_weights

    tensor = torch.from_numpy(images)
    feedback, bias = quantization.rounding is not Rounding.NEAREST, quantization.bias_correction
    convs = len(find_int8_weights(int8))
    if feedback or bias:
        with progress.task(f"Rounding {convs} Convs for {target} on {len(images)} images", convs) as advance:
            correct(int8, fp32, tensor, lambda: advance(1), feedback=feedback, bias=bias)
    if quantization.rounding is Rounding.LEARNED:
        learning = Learning(steps=quantization.learning_steps)
        with progress.task(f"Learning the rounding for {target}", learning.steps) as advance:
            learn_rounding(int8, fp32, tensor, learning, lambda: advance(1))
