"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
import gc
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle, Transaction
from wrn_deploy.calib.guard import CalibrationWarning, report_warnings
from wrn_deploy.data.sampling.overlap import ImageSet
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.networks.checks import check_bundle_room
from wrn_deploy.pipeline.quantization.base_graph import unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages
from wrn_deploy.pipeline.quantization.overlap import CALIBRATION
from wrn_deploy.pipeline.quantization.quantize import Quantization, find_inputs, write_graphs
from wrn_deploy.pipeline.quantization.state import GRAPH, is_finetuned, is_tuned, made_by
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Progress
from wrn_deploy.spec import IMPORTED, Precision
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.moments import Moments
    from wrn_deploy.calib.collection.ranges import Histogram, Range
    from wrn_deploy.calib.collection.table import CalibrationTable, Equalization

__all__ = ["PACKAGES", "CalibrateOptions", "calibrate_bundle", "is_calibrated"]

METHODS = "wrn_deploy.calib.methods"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "torch")
INT8_SHARE = 0.6  # of the fp32 graph's size: two int8 graphs, a quarter each, and the table
GRAPHS = {GRAPH: "int8-tensorrt.onnx", "onnx-int8-onnxruntime": "int8-onnxruntime.onnx"}


def calibrate_bundle(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> Artifact:
    """Adds calibration.json and the int8 graphs for TensorRT and for ONNX Runtime; returns the table's artifact.

    Images are decoded once, and kept as uint8 pixels up to `data.cached_batches.CACHE_BYTES`; a larger set is decoded
    again in each pass. If table and graphs are up to date, nothing but this first pass is done. If a technique of the
    graphs changed, the ranges are collected again, bit for bit, since the moments for rounding come with them.

    Example:
        >>> from pathlib import Path
        >>> from wrn_deploy.bundle import Bundle
        >>> from wrn_deploy.progress import Silent
        >>> from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
        >>> bundle = Bundle.open(Path("bundle"))  # as `export_bundle` writes it
        >>> table = calibrate_bundle(bundle, CalibrateOptions(data="digits", size=64, method="mse"), Silent())
        >>> table.path
        'calibration.json'

    Raises:
        DeployError: no such method, the bundle has no graphs, or the data is empty, unreadable or gives activations
            that are not finite.
    """
    from threadpoolctl import threadpool_limits

    asked = _ask(bundle, options, progress)
    images, fp32 = asked.images, asked.fp32
    if asked.current is not None:
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return asked.current
    if is_tuned(bundle.artifacts.get(GRAPH)):
        progress.warn(f"{bundle.folder}: this replaces the tuned int8 graph; run `wrn-deploy tune` again")
    if any(is_finetuned(bundle.artifacts.get(key)) for key in GRAPHS):
        progress.warn(f"{bundle.folder}: this replaces fine-tuned int8 graphs; run `wrn-deploy finetune` again")
    # The products of calibration are small: more threads would wait for each other longer than they compute.
    with unwrapped_file(bundle.file(fp32), bundle.spec) as core, threadpool_limits(1, "blas"):
        collected = _collect(core, asked.method.NEEDS_HISTOGRAM, images, progress)
    table, warnings = _make_table(collected, fp32.sha256, asked.method, images)
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
            _write_graphs(collected, table, step, images)
        answers = collected.answers
        del collected
        gc.collect()  # frees the weights before sessions are opened
        for key, graph_recipe in asked.graph_recipes(artifact).items():
            step.add(key, kind=Kind.ONNX, precision=Precision.INT8, path=GRAPHS[key], recipe=graph_recipe)
        CALIBRATION.add(step, artifact, ImageSet.of(images.digests))
        with progress.task("Comparing the int8 graphs with fp32"):
            staged = {key: step.file(file) for key, file in GRAPHS.items()}
            images.compare(answers, staged, progress)
    return artifact


def is_calibrated(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> bool:
    """Whether `calibrate_bundle` would find everything up to date: reads the images, and writes nothing."""
    return _ask(bundle, options, progress).current is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is asked for: the method, the images, how the table is made; `current` is the table if all is up to date."""

    method: Any
    images: CalibrationImages
    fp32: Artifact
    fp16: Artifact
    recipe: Recipe
    current: Artifact | None = None

    def graph_recipes(self, table: Artifact) -> dict[str, Recipe]:
        """How the int8 graphs are made from `table`, by artifact key; the one for ONNX Runtime needs no fp16 graph."""
        parents = {key: (table, self.fp32, self.fp16) if key == GRAPH else (table, self.fp32) for key in GRAPHS}
        described = self.images.options.quantization.describe()
        return {
            key: Recipe(parents={made.key: made.sha256 for made in used}, options=described, tools=self.recipe.tools)
            for key, used in parents.items()
        }


def _ask(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> _Asked:
    method = load_plugin(METHODS, options.method)
    fp32, fp16 = (bundle.find(key) for key in ("onnx-fp32", "onnx-fp16"))
    parents = [fp32] if bundle.spec.family == IMPORTED else [bundle.find("weights"), fp32]
    images = CalibrationImages(bundle, options)
    check_bundle_room(bundle, INT8_SHARE, "calibration")
    images.read(progress)
    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    # The weights' file, or an imported graph, has the preprocessing in it: with another one it needs another table.
    recipe = Recipe(parents={made.key: made.sha256 for made in parents}, options=images.describe(), tools=tools)
    asked = _Asked(method=method, images=images, fp32=fp32, fp16=fp16, recipe=recipe)
    table = bundle.current("calibration", recipe)
    if table is None or not CALIBRATION.find(bundle):
        return asked
    made = all(made_by(bundle, key, graph_recipe) for key, graph_recipe in asked.graph_recipes(table).items())
    return dataclasses.replace(asked, current=table) if made else asked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collected:
    """What the passes over the images gave: the equalized fp32 graph, its ranges, and moments for rounding, if any."""

    equalized: ir.Model
    equalization: Equalization
    ranges: Mapping[str, Range]
    moments: Moments | None
    quantization: Quantization  # with the choice of the exact input
    answers: list[int]  # the top classes of the first images


def _make_table(
    collected: _Collected, graph_sha256: str, method: Any, images: CalibrationImages
) -> tuple[CalibrationTable, list[CalibrationWarning]]:
    """The table, and what the guards warn of."""
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.calib.guard import Calibrated, run_guards

    options = images.options

    def threshold(histogram: Histogram | None, amax: float) -> float:
        return float(method.threshold(histogram, amax, options.percentile))

    table = CalibrationTable(
        method=options.method,
        percentile=options.percentile if options.method == "percentile" else None,
        **images.described,
        graph_sha256=graph_sha256,
        tensors={name: found.whole.clipped(threshold) for name, found in collected.ranges.items()},
        equalization=collected.equalization,
    )
    calibrated = Calibrated(
        graph=collected.equalized.graph,
        ranges=collected.ranges,
        table=table,
        threshold=threshold,
        equalized=options.equalize,
        available=images.available - len(images.source) + len(images.digests),  # without the corrupt ones among them
    )
    return table, run_guards(calibrated)


def _collect(fp32: Path, histograms: bool, images: CalibrationImages, progress: Progress) -> _Collected:
    """Runs the graph in `fp32`, without an interface, on the images.

    A first pass over some of the images finds the channels' extremes, which give the equalization and the scales of
    the codes whose moments are taken. A second pass over all images collects ranges and moments as they are in the
    equalized graph.
    """
    import numpy as np
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
    from wrn_deploy.calib.collection.moments import Moments
    from wrn_deploy.calib.collection.table import Equalization
    from wrn_deploy.calib.equalization.equalize import equalize, equalized_units, find_equalization
    from wrn_deploy.calib.rounding.first_conv import exact_input_pays

    options, count = images.options, len(images.digests)
    observed = ObservedGraph(fp32)
    with progress.task("Collecting the channels' ranges") as advance:
        ranges = collect_ranges(observed, images.some(advance), histograms=False, threads=options.threads)
    model: ir.Model | None = ir.load(fp32)
    assert model is not None
    equalization = find_equalization(model.graph, ranges) if options.equalize else Equalization()
    units = equalized_units(model.graph, equalization)
    quantization = options.quantization
    if quantization.exact_input is None:
        shown = itertools.islice(images.normalized(lambda _: None), images.compared)
        image = ranges.get(observed.source)  # None: other nodes than Convs read the images
        pays = image is not None and exact_input_pays(model.graph, images.preprocessing, shown, image.whole.amax)
        quantization = dataclasses.replace(quantization, exact_input=pays)
    inputs = find_inputs(model.graph, ranges, units, quantization, images.preprocessing)
    moments = Moments(inputs, count) if inputs else None
    model = None  # keeps memory flat: the graph is read again after the pass
    gc.collect()
    answers = dict.fromkeys(range(min(images.compared, count)), np.zeros(1, dtype=np.float32))
    with progress.task(f"Collecting ranges on {count} images", count) as advance:
        ranges = collect_ranges(
            observed,
            images.normalized(advance),
            histograms=histograms,
            threads=options.threads,
            units=units,
            moments=moments,
            answers=answers,
        )
    del observed  # frees the session's weights
    equalized = equalize(ir.load(fp32), equalization)
    gc.collect()
    return _Collected(
        equalized=equalized,
        equalization=equalization,
        ranges=ranges,
        moments=moments,
        quantization=quantization,
        answers=[int(logits.argmax()) for logits in answers.values()],
    )


def _write_graphs(collected: _Collected, table: CalibrationTable, step: Transaction, images: CalibrationImages) -> None:
    """Stages the int8 graphs."""
    graphs = write_graphs(
        collected.equalized,
        table,
        collected.moments,
        quantization=collected.quantization,
        preprocessing=images.preprocessing,
    )
    for key, graph in graphs.items():
        file = step.file(GRAPHS[key])
        write_wrapped(graph, file, images.spec, fp32=collected.equalized, equalization=table.equalization)
