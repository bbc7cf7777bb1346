"""Makes a bundle's int8 graphs from its calibration table: places Q/DQ for each target and rounds the weights."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wrn_deploy.calib.options import Rounding, WeightScales
from wrn_deploy.graph import value_name
from wrn_deploy.spec import ModelSpec, Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.moments import ConvInput, Moments
    from wrn_deploy.calib.collection.ranges import Part, Range, Unit
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.calib.writing.full_range import Shift

__all__ = [
    "Prepared", "Quantization", "Rounding", "WeightScales", "find_inputs", "find_scales", "mixed_graph", "prepare_like",
    "write_graphs",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """The techniques that keep accuracy when int8 graphs are written; docs/explanation/int8.md has gains and costs.

    Attributes:
        exact_input: give the first Conv of the TensorRT graph the pixels' own codes; None: if that is measured to be
            nearer to fp32.
        full_range: shift outputs of ReLUs so that all codes of int8 stand for them, if that costs nothing.
        weights: what has a weight scale of its own.
        rounding: how weights become integers.
    """

    exact_input: bool | None = None
    full_range: bool = True
    weights: WeightScales = WeightScales.CHANNEL
    rounding: Rounding = Rounding.FEEDBACK

    def describe(self) -> dict[str, Any]:
        """Everything that the graphs depend on, in JSON types."""
        return dataclasses.asdict(self)


def find_scales(ranges: Mapping[str, Range], units: Mapping[str, Unit]) -> dict[str, float]:
    """The values of the codes whose moments rounding needs, by tensor.

    Args:
        ranges: of the tensors, from some of the images.
        units: how equalization changes them.
    """
    return {name: (_amax(found.whole, units.get(name)) or 1.0) / 127.0 for name, found in ranges.items()}


def find_inputs(
    fp32: ir.Graph, scales: Mapping[str, float], quantization: Quantization, preprocessing: Preprocessing
) -> tuple[ConvInput, ...]:
    """What the Convs read, whose moments rounding needs; empty if it needs none.

    Args:
        fp32: the graph before it is equalized.
        scales: of the codes, by tensor (`find_scales`).
        quantization: the techniques, with the choice of the exact input.
        preprocessing: of the images.
    """
    from wrn_deploy.calib.rounding.inputs import find_conv_inputs
    from wrn_deploy.calib.writing.exact_input import pixel_codes

    if quantization.rounding is Rounding.NEAREST:
        return ()
    return find_conv_inputs(fp32, scales, pixel_codes(preprocessing) if quantization.exact_input else None)


def _amax(part: Part, unit: Unit | None) -> float:
    """The largest magnitude of a tensor in this unit."""
    if unit is None:
        return part.amax
    return float(max(abs(values * unit.factors + unit.moves).max() for values in (part.lows, part.highs)))


def write_graphs(
    equalized: ir.Model,
    table: CalibrationTable,
    moments: Moments | None,
    *,
    quantization: Quantization,
    preprocessing: Preprocessing,
) -> dict[str, ir.Model]:
    """The int8 graphs by artifact key.

    Args:
        equalized: the bundle's fp32 graph, equalized by the table.
        table: the tensors' ranges.
        moments: of what the Convs read (`find_inputs`); None: weights are rounded to the nearest.
        quantization: the techniques, with the choice of the exact input.
        preprocessing: of the images.
    """
    from wrn_deploy.calib.writing.fold_strides import fold_strides
    from wrn_deploy.calib.writing.for_onnxruntime import integer_norms, quantize_for_onnxruntime
    from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
    from wrn_deploy.calib.writing.full_range import saturate, settle
    from wrn_deploy.export.half import convert_fp16

    prepared = _prepare(
        equalized,
        table,
        preprocessing,
        exact_input=bool(quantization.exact_input),
        full_range=quantization.full_range,
    )
    for_tensorrt = quantize_for_tensorrt(
        prepared.fp32,
        convert_fp16(prepared.fp32),
        prepared.table,
        per_channel=quantization.weights is WeightScales.CHANNEL,
    )
    for_onnxruntime = quantize_for_onnxruntime(equalized, table)
    gc.collect()  # frees the fp16 graph's weights
    if moments is not None:
        _round([(prepared.fp32, for_tensorrt), (equalized, for_onnxruntime)], moments)
    settle(for_tensorrt, prepared.shifts)
    return {
        "onnx-int8-tensorrt": saturate(for_tensorrt),
        "onnx-int8-onnxruntime": fold_strides(integer_norms(for_onnxruntime)),
    }


def mixed_graph(
    base: ir.Model, float_convs: Collection[str], *, fp32: ir.Model, table: CalibrationTable, spec: ModelSpec
) -> ir.Model:
    """The graph for TensorRT, without an interface, with these Convs in fp16.

    The other Convs keep the codes and biases that they have in `base`, in which all are int8. `fp32` is equalized by
    the table.
    """
    from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
    from wrn_deploy.calib.writing.full_range import saturate
    from wrn_deploy.calib.writing.int8_weights import copy_rounding
    from wrn_deploy.export.half import convert_fp16

    prepared = prepare_like(base, fp32, table, spec.preprocessing)
    graph = quantize_for_tensorrt(prepared.fp32, convert_fp16(prepared.fp32), prepared.table, float_convs)
    copy_rounding(base, graph)
    return saturate(graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The fp32 graph that the int8 graph for TensorRT is written from, its ranges, and who reads shifted tensors."""

    fp32: ir.Model
    table: CalibrationTable
    shifts: list[Shift]


def prepare_like(base: ir.Model, fp32: ir.Model, table: CalibrationTable, preprocessing: Preprocessing) -> Prepared:
    """Prepares the equalized fp32 graph with the techniques that were used for the int8 graph `base`."""
    from wrn_deploy.calib.writing.exact_input import PIXELS
    from wrn_deploy.calib.writing.full_range import SHIFTED

    values = [value for node in base.graph for value in node.inputs]
    return _prepare(
        fp32,
        table,
        preprocessing,
        exact_input=any(value_name(value) == PIXELS for value in values),
        full_range=any(name.endswith(f"{SHIFTED}.scale") for name in base.graph.initializers),
    )


def _prepare(
    equalized: ir.Model,
    table: CalibrationTable,
    preprocessing: Preprocessing,
    *,
    exact_input: bool,
    full_range: bool,
) -> Prepared:
    from wrn_deploy.calib.writing.exact_input import PIXELS, RANGE, read_pixels
    from wrn_deploy.calib.writing.full_range import Shift, use_full_range
    from wrn_deploy.export.interface import find_feature_maps

    fp32 = read_pixels(equalized, preprocessing) if exact_input else equalized
    ranges, shifts = {PIXELS: RANGE}, list[Shift]()
    if full_range:
        kept = {value_name(value) for value in find_feature_maps(equalized.graph)}
        fp32, shifted, shifts = use_full_range(fp32, table, kept)
        ranges |= shifted
    extended = dataclasses.replace(table, tensors={**table.tensors, **ranges})
    return Prepared(fp32=fp32, table=extended, shifts=shifts)


def _round(graphs: Collection[tuple[ir.Model, ir.Model]], moments: Moments) -> None:
    """Rounds the weights of int8 graphs again, in place; each comes with the fp32 graph that it was made from."""
    from wrn_deploy.calib.rounding.feedback import round_with_feedback
    from wrn_deploy.calib.writing.int8_weights import find_int8_weights
    from wrn_deploy.calib.writing.qdq import weights_of

    stored = [find_int8_weights(int8) for _, int8 in graphs]
    for each in moments.inputs:
        weights, convs = [], []
        for (fp32, _), found in zip(graphs, stored, strict=True):
            # Constant channels, behind the others, follow from them (`settle`).
            if each.conv in found and (own := weights_of(fp32.graph, each.conv)).shape[1] >= each.channels:
                weights.append(own[:, : each.channels])
                convs.append(found[each.conv])
        if not convs:
            continue
        codes = round_with_feedback(weights, [conv.scale for conv in convs], moments.sums[each.conv])
        for conv, rounded in zip(convs, codes, strict=True):
            all_codes = conv.codes
            all_codes[:, : each.channels] = rounded
            conv.set_codes(all_codes)
