"""Collects what calibration needs of images: a survey of the first ones, then all of them, or those of one shard."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.formatting import count
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages
from wrn_deploy.pipeline.quantization.quantize import Quantization, find_inputs, find_scales
from wrn_deploy.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collect import ObservedGraph
    from wrn_deploy.calib.collection.collected import Collected, Survey
    from wrn_deploy.calib.collection.moments import ConvInput
    from wrn_deploy.calib.collection.ranges import Range, Unit

__all__ = ["Collector", "surveyed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """An open fp32 graph and what the survey of the first images found; collects one set of images after the other."""

    graph: ObservedGraph
    survey: Survey
    units: Mapping[str, Unit]
    inputs: tuple[ConvInput, ...]

    @classmethod
    def open(cls, fp32: Path, images: CalibrationImages, progress: Progress) -> Collector:
        """Opens the graph in `fp32`, without an interface, and surveys the first images.

        They give the channels' extremes, and these the equalization and the scales of the codes for the moments.
        All shards survey the same images.
        """
        import onnx_ir as ir

        from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
        from wrn_deploy.calib.collection.collected import Survey
        from wrn_deploy.calib.collection.table import Equalization
        from wrn_deploy.calib.equalization.equalize import equalized_units, find_equalization

        options, graph = images.options, ObservedGraph(fp32)
        with progress.task("Collecting the channels' ranges") as advance:
            ranges = collect_ranges(graph, images.some(advance), histograms=False, threads=options.threads)
        model = ir.load(fp32)
        equalization = find_equalization(model.graph, ranges) if options.equalize else Equalization()
        units = equalized_units(model.graph, equalization)
        survey = Survey(
            factors=equalization.factors,
            shifts=equalization.shifts,
            scales=find_scales(ranges, units),
            exact_input=_exact_input(graph, model, ranges, images),
        )
        quantization = surveyed(options, survey)
        inputs = find_inputs(model.graph, survey.scales, quantization, images.preprocessing)
        del model  # keeps memory flat: the graph is read again after the pass
        gc.collect()
        return cls(graph=graph, survey=survey, units=units, inputs=inputs)

    def collect(self, images: CalibrationImages, *, histograms: bool, progress: Progress) -> Collected:
        """Collects ranges and moments of the images, which were read, as they are in the equalized graph."""
        import numpy as np

        from wrn_deploy.calib.collection.collect import collect_ranges
        from wrn_deploy.calib.collection.collected import Collected
        from wrn_deploy.calib.collection.moments import Moments

        # The share of each image depends on how many were chosen: on nothing that one shard alone cannot know.
        moments = Moments(self.inputs, images.chosen) if self.inputs else None
        pixels = images.first_pixels()
        answers = dict.fromkeys(range(len(pixels)), np.zeros(1, dtype=np.float32))
        with progress.task(
            f"Collecting ranges on {count(len(images.digests), 'image')}", len(images.digests)
        ) as advance:
            ranges = collect_ranges(
                self.graph,
                images.normalized(advance),
                histograms=histograms,
                threads=images.options.threads,
                units=self.units,
                moments=moments,
                answers=answers,
            )
        return Collected(
            survey=self.survey,
            ranges=ranges,
            moments={} if moments is None else moments.sums,
            digests=images.digests,
            pixels=pixels,
            answers=tuple(int(logits.argmax()) for logits in answers.values()),
        )


def surveyed(options: CalibrateOptions, survey: Survey) -> Quantization:
    """The techniques, with the survey's choice of the exact input."""
    return dataclasses.replace(options.quantization, exact_input=survey.exact_input)


def _exact_input(graph: ObservedGraph, model: ir.Model, ranges: Mapping[str, Range], images: CalibrationImages) -> bool:
    """Whether the first Conv of the graph for TensorRT gets the pixels' own codes: as told, or if that is nearer."""
    from wrn_deploy.calib.rounding.first_conv import exact_input_pays

    told = images.options.quantization.exact_input
    if told is not None:
        return told
    image = ranges.get(graph.source)  # None: other nodes than Convs read the images
    return image is not None and exact_input_pays(model.graph, images.preprocessing, images.first(), image.whole.amax)
