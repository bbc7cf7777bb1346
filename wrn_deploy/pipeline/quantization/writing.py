"""Writes a calibration into the bundle from what all images gave: table, int8 graphs, images; all or nothing."""

from __future__ import annotations

import dataclasses
import gc
from typing import TYPE_CHECKING

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.guard import CalibrationWarning, report_warnings
from wrn_deploy.data.sampling.overlap import ImageSet
from wrn_deploy.manifest import Artifact, Kind
from wrn_deploy.pipeline.quantization.base_graph import unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.collecting import surveyed
from wrn_deploy.pipeline.quantization.comparing import FirstImages
from wrn_deploy.pipeline.quantization.overlap import CALIBRATION
from wrn_deploy.pipeline.quantization.quantize import find_inputs, write_graphs
from wrn_deploy.pipeline.quantization.state import GRAPH, GRAPHS, is_finetuned, is_tuned
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collected import Collected
    from wrn_deploy.calib.collection.moments import ConvInput, Moments
    from wrn_deploy.calib.collection.ranges import Histogram
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.pipeline.quantization.calibrate import CalibrationRequest

__all__ = ["warn_of_replaced", "write_calibration"]


def warn_of_replaced(bundle: Bundle, progress: Progress) -> None:
    """Warns if calibrating again replaces graphs that were improved since."""
    if is_tuned(bundle.artifacts.get(GRAPH)):
        progress.warn(f"{bundle.folder}: this replaces the tuned int8 graph; run `wrn-deploy tune` again")
    if any(is_finetuned(bundle.artifacts.get(key)) for key in GRAPHS):
        progress.warn(f"{bundle.folder}: this replaces fine-tuned int8 graphs; run `wrn-deploy finetune` again")


def write_calibration(bundle: Bundle, asked: CalibrationRequest, collected: Collected, progress: Progress) -> Artifact:
    """Adds calibration.json, the int8 graphs and the list of images; returns the table's artifact.

    Raises:
        DeployError: a graph gives outputs that are not finite.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        equalized, inputs = _equalized(bundle, asked, collected)
        table, warnings = _make_table(equalized, asked, collected)
    report_warnings(warnings, progress)
    with bundle.transaction() as step:
        step.file("calibration.json").write_text(table.to_json(), encoding="utf-8")
        facts = {"images": table.images, "guards": [dataclasses.asdict(warning) for warning in warnings]}
        artifact = step.add(
            "calibration",
            kind=Kind.CALIBRATION,
            precision=Precision.INT8,
            path="calibration.json",
            recipe=asked.recipe,
            facts=facts,
        )
        with progress.task("Writing the int8 graphs"), threadpool_limits(1, "blas"):
            graphs = write_graphs(
                equalized,
                table,
                _moments(inputs, asked, collected),
                quantization=surveyed(asked.options, collected.survey),
                preprocessing=bundle.spec.preprocessing,
            )
            for key, graph in graphs.items():
                file = step.file(GRAPHS[key])
                write_wrapped(graph, file, bundle.spec, fp32=equalized, equalization=table.equalization)
        first = FirstImages(pixels=collected.pixels, spec=bundle.spec, threads=asked.options.threads)
        answers = collected.answers
        del equalized, graphs, graph, collected
        gc.collect()  # frees the weights before sessions are opened
        for key, graph_recipe in asked.graph_recipes(artifact).items():
            step.add(key, kind=Kind.ONNX, precision=Precision.INT8, path=GRAPHS[key], recipe=graph_recipe)
        CALIBRATION.add(step, artifact, ImageSet.of(asked.used.digests))
        with progress.task("Comparing the int8 graphs with fp32"):
            first.compare(answers, {key: step.file(file) for key, file in GRAPHS.items()}, progress)
    return artifact


def _equalized(
    bundle: Bundle, asked: CalibrationRequest, collected: Collected
) -> tuple[ir.Model, tuple[ConvInput, ...]]:
    """The equalized fp32 graph, and the Convs' inputs that the moments are of."""
    import onnx_ir as ir

    from wrn_deploy.calib.equalization.equalize import equalize

    survey = collected.survey
    with unwrapped_file(bundle.file(asked.base.fp32), bundle.spec) as core:
        fp32 = ir.load(core)
        inputs = find_inputs(fp32.graph, survey.scales, surveyed(asked.options, survey), bundle.spec.preprocessing)
        equalized = equalize(fp32, survey.equalization)
    del fp32
    gc.collect()
    return equalized, inputs


def _make_table(
    equalized: ir.Model, asked: CalibrationRequest, collected: Collected
) -> tuple[CalibrationTable, list[CalibrationWarning]]:
    """The table, and what the guards warn of."""
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.calib.guard import Calibrated, run_guards

    options, used = asked.options, asked.used

    def threshold(histogram: Histogram | None, amax: float) -> float:
        return float(asked.base.method.threshold(histogram, amax, options.percentile))

    table = CalibrationTable(
        method=options.method,
        percentile=options.percentile if options.method == "percentile" else None,
        **used.describe(),
        graph_sha256=asked.base.fp32.sha256,
        tensors={name: found.whole.clipped(threshold) for name, found in collected.ranges.items()},
        equalization=collected.survey.equalization,
    )
    calibrated = Calibrated(
        graph=equalized.graph,
        ranges=collected.ranges,
        table=table,
        threshold=threshold,
        equalized=options.equalize,
        available=used.available - used.chosen + len(used.digests),  # without the corrupt ones among them
    )
    return table, run_guards(calibrated)


def _moments(inputs: tuple[ConvInput, ...], asked: CalibrationRequest, collected: Collected) -> Moments | None:
    """The moments for rounding; None if it needs none."""
    from wrn_deploy.calib.collection.moments import Moments

    if not inputs:
        return None
    moments = Moments(inputs, asked.used.chosen)
    for conv in moments.sums:
        moments.sums[conv] += collected.moments[conv]
    return moments
