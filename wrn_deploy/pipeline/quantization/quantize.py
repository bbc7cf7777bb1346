"""Makes a bundle's int8 graphs from its calibration table: equalised, placed for a target, rounded as asked for."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.techniques import Rounding, WeightScales
from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.pipeline.quantization.base_graph import read_core
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.table import CalibrationTable

__all__ = ["Quantization", "Rounding", "WeightScales", "images_for_rounding", "mixed_graphs", "write_graphs"]

HELD = 64 * 2**20  # bytes of one tensor's values that rounding may hold: all images of 32x32, some 20 of 224x224
FEWEST = 8  # images that rounding looks at, however large they are


@dataclass(frozen=True, slots=True)
class Quantization:
    """The techniques that keep accuracy when int8 graphs are written; docs/int8.md has what each gave and costs."""

    exact_input: bool = True
    weights: WeightScales = WeightScales.CHANNEL
    bias_correction: bool = False
    rounding: Rounding = Rounding.FEEDBACK
    learning_steps: int = 600

    def __post_init__(self) -> None:
        if self.learning_steps < 1:
            raise UsageError(f"--learning-steps {self.learning_steps}: expected at least 1")

    def describe(self) -> dict[str, Any]:
        """What makes the graphs the same, in JSON types."""
        told = dataclasses.asdict(self)
        if self.rounding is not Rounding.LEARNED:
            del told["learning_steps"]
        return told

    @property
    def looks_at_images(self) -> bool:
        """Whether it needs calibration images again, besides the table."""
        return self.bias_correction or self.rounding is not Rounding.NEAREST


def write_graphs(
    equal: ir.Model,
    how: tuple[CalibrationTable, Quantization, Preprocessing],
    images: npt.NDArray[np.float32] | None,
    progress: Progress,
) -> dict[str, ir.Model]:
    """The int8 graphs by artifact key.

    Args:
        equal: the bundle's fp32 graph, equalised as the table says.
        how: the table, the techniques, and what images become before they reach the graph.
        images: normalised, (N, 3, H, W); None where the techniques look at none.
        progress: told of each Conv or step.
    """
    from wrn_deploy.calib.writing.fold_strides import fold_strides
    from wrn_deploy.calib.writing.for_onnxruntime import quantize_for_onnxruntime
    from wrn_deploy.calib.writing.integer_norms import integer_norms

    table, techniques, preprocessing = how
    source, for_tensorrt = _for_tensorrt(equal, table, preprocessing, (), techniques)
    for_onnxruntime = quantize_for_onnxruntime(equal, table)
    if images is not None:
        _round("TensorRT", for_tensorrt, source, (images, techniques), progress)
        # Bias correction and learning are not done for ONNX Runtime: measured, its finer activations gain nothing.
        gentle = dataclasses.replace(techniques, bias_correction=False, rounding=_at_most_feedback(techniques.rounding))
        _round("ONNX Runtime", for_onnxruntime, equal, (images, gentle), progress)
    return {"onnx-int8-tensorrt": for_tensorrt, "onnx-int8-onnxruntime": fold_strides(integer_norms(for_onnxruntime))}


def mixed_graphs(bundle: Bundle, base: ir.Model) -> Callable[[Collection[str]], ir.Model]:
    """A function that gives the bundle's int8 core `base`, for TensorRT, but with the Convs of given names in fp16.

    The other Convs keep the codes and biases that they have in `base`, in which all are int8.
    """
    from wrn_deploy.calib.collection.table import read_table
    from wrn_deploy.calib.equalization.equalize import equalize
    from wrn_deploy.calib.writing.exact_input import PIXELS
    from wrn_deploy.calib.writing.int8_weights import copy_rounding

    remedy = f"wrn-deploy calibrate {bundle.folder} --calib-data DATA"
    table = read_table(bundle.file(bundle.find("calibration", remedy)))
    equal = equalize(read_core(bundle.file(bundle.find("onnx-fp32", remedy))), table.equalization)
    exact = any(value.name == PIXELS for node in base.graph for value in node.outputs)

    def mixed(float_convs: Collection[str]) -> ir.Model:
        techniques = Quantization(exact_input=exact)
        _, graph = _for_tensorrt(equal, table, bundle.spec.preprocessing, float_convs, techniques)
        copy_rounding(base, graph)
        return graph

    return mixed


def images_for_rounding(fp32: ir.Model, count: int) -> int:
    """How many of `count` images rounding looks at: as many as one tensor's values may be held of."""
    shapes = [value.shape for node in fp32.graph for value in node.outputs if value.shape is not None]
    largest = max(int(np.prod([size for size in shape if isinstance(size, int)])) for shape in shapes)
    return min(count, max(FEWEST, HELD // (4 * largest)))


def _for_tensorrt(
    equal: ir.Model,
    table: CalibrationTable,
    preprocessing: Preprocessing,
    float_convs: Collection[str],
    techniques: Quantization,
) -> tuple[ir.Model, ir.Model]:
    """The fp32 graph that the int8 graph is made from, and that."""
    from wrn_deploy.calib.writing.exact_input import PIXELS, RANGE, read_pixels
    from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
    from wrn_deploy.export.fp16 import convert_fp16

    source = read_pixels(equal, preprocessing) if techniques.exact_input else equal
    wide = dataclasses.replace(table, tensors={**table.tensors, PIXELS: RANGE})
    per_channel = techniques.weights is WeightScales.CHANNEL
    return source, quantize_for_tensorrt(source, convert_fp16(source), wide, float_convs, per_channel=per_channel)


def _at_most_feedback(rounding: Rounding) -> Rounding:
    return Rounding.FEEDBACK if rounding is Rounding.LEARNED else rounding


def _round(
    target: str,
    int8: ir.Model,
    fp32: ir.Model,
    how: tuple[npt.NDArray[np.float32], Quantization],
    progress: Progress,
) -> None:
    """Rounds the graph's weights anew, in place."""
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "export", f"--rounding {how[1].rounding} (`nearest` needs none)")
    import torch

    from wrn_deploy.calib.rounding.feedback import Corrections, correct
    from wrn_deploy.calib.rounding.learned import Learning, learn_rounding
    from wrn_deploy.calib.writing.int8_weights import find_stored

    images, techniques = how
    looked_at = torch.from_numpy(images)
    corrections = Corrections(techniques.rounding is not Rounding.NEAREST, techniques.bias_correction)
    convs = len(find_stored(int8))
    if corrections.feedback or corrections.bias:
        with progress.task(f"Rounding {convs} Convs for {target} on {len(images)} images", convs) as advance:
            correct(int8, fp32, looked_at, corrections, lambda: advance(1))
    if techniques.rounding is Rounding.LEARNED:
        learning = Learning(steps=techniques.learning_steps)
        with progress.task(f"Learning the rounding for {target}", learning.steps) as advance:
            learn_rounding(int8, fp32, looked_at, learning, lambda: advance(1))
