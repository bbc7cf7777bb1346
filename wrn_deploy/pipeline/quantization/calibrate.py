"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.guard import CalibrationWarning, report_warnings
from wrn_deploy.data.sampling.overlap import ImageSet
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.quantization.base_graph import read_equalized, unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages
from wrn_deploy.pipeline.quantization.overlap import CALIBRATION
from wrn_deploy.pipeline.quantization.quantize import Quantization, write_graphs
from wrn_deploy.pipeline.quantization.state import GRAPH, is_finetuned, is_tuned, made_by
from wrn_deploy.plugins import load_plugin
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.ranges import Histogram, Range
    from wrn_deploy.calib.collection.table import CalibrationTable, Equalization

__all__ = ["PACKAGES", "CalibrateOptions", "calibrate_bundle"]

METHODS = "wrn_deploy.calib.methods"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "torch")
GRAPHS = {GRAPH: "int8-tensorrt.onnx", "onnx-int8-onnxruntime": "int8-onnxruntime.onnx"}


def calibrate_bundle(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> Artifact:
    """Adds calibration.json and the int8 graphs for TensorRT and for ONNX Runtime; returns the table's artifact.

    Images are decoded once, and kept as uint8 pixels up to `data.cached_batches.CACHE_BYTES`; a larger set is decoded
    again in each pass. If table and graphs are up to date, nothing but this first pass is done.

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
    method = load_plugin(METHODS, options.method)
    weights, fp32, fp16 = (bundle.find(key) for key in ("weights", "onnx-fp32", "onnx-fp16"))
    images = CalibrationImages(bundle, options)
    images.read(progress)
    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    # The weights' file has the preprocessing in it: a model exported with another one needs another table.
    recipe = Recipe(
        parents={weights.key: weights.sha256, fp32.key: fp32.sha256}, options=images.describe(), tools=tools
    )
    artifact = bundle.current("calibration", recipe)
    recipes = functools.partial(_graph_recipes, fp32=fp32, fp16=fp16, options=options.quantization, tools=tools)
    if artifact is not None:
        made = all(made_by(bundle, key, graph_recipe) for key, graph_recipe in recipes(artifact).items())
        if made and CALIBRATION.find(bundle):
            progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
            return artifact
    if is_tuned(bundle.artifacts.get(GRAPH)):
        progress.warn(f"{bundle.folder}: this replaces the tuned int8 graph; run `wrn-deploy tune` again")
    if any(is_finetuned(bundle.artifacts.get(key)) for key in GRAPHS):
        progress.warn(f"{bundle.folder}: this replaces fine-tuned int8 graphs; run `wrn-deploy finetune` again")
    if artifact is None:
        with unwrapped_file(bundle.file(fp32), bundle.spec) as core:
            table, equalized, warnings = _calibrate(core, fp32.sha256, method, images, progress)
    else:
        equalized, table = read_equalized(bundle)
        warnings = [CalibrationWarning(**warning) for warning in artifact.facts.get("guards", [])]
    report_warnings(warnings, progress)
    with bundle.transaction() as step:
        step.file("calibration.json").write_text(table.to_json(), encoding="utf-8")
        facts = {"images": table.images, "guards": [dataclasses.asdict(warning) for warning in warnings]}
        artifact = step.add(
            "calibration",
            kind=Kind.CALIBRATION,
            precision=Precision.INT8,
            path="calibration.json",
            recipe=recipe,
            facts=facts,
        )
        for key, graph in write_graphs(equalized, table, images, progress).items():
            file = step.file(GRAPHS[key])
            write_wrapped(graph, file, bundle.spec, fp32=equalized, equalization=table.equalization)
        del equalized, graph  # frees their weights before sessions are opened
        for key, graph_recipe in recipes(artifact).items():
            step.add(key, kind=Kind.ONNX, precision=Precision.INT8, path=GRAPHS[key], recipe=graph_recipe)
        CALIBRATION.add(step, artifact, ImageSet.of(images.digests))
        with progress.task("Comparing the int8 graphs with fp32"):
            staged = {key: step.file(file) for key, file in GRAPHS.items()}
            images.compare(bundle.file(fp32), staged, progress)
    return artifact


def _calibrate(
    graph: Path, graph_sha256: str, method: Any, images: CalibrationImages, progress: Progress
) -> tuple[CalibrationTable, ir.Model, list[CalibrationWarning]]:
    """The table of the unwrapped fp32 graph in `graph`, the graph equalized by it, and what the guards warn of."""
    from wrn_deploy.calib.collection.table import CalibrationTable
    from wrn_deploy.calib.guard import Calibrated, run_guards

    options = images.options

    def threshold(histogram: Histogram | None, amax: float) -> float:
        return float(method.threshold(histogram, amax, options.percentile))

    equalization, ranges, equalized = _collect(graph, method.NEEDS_HISTOGRAM, images, progress)
    table = CalibrationTable(
        method=options.method,
        percentile=options.percentile if options.method == "percentile" else None,
        **images.described,
        graph_sha256=graph_sha256,
        tensors={name: found.whole.clipped(threshold) for name, found in ranges.items()},
        equalization=equalization,
    )
    calibrated = Calibrated(
        graph=equalized.graph,
        ranges=ranges,
        table=table,
        threshold=threshold,
        equalized=options.equalize,
        available=images.available - len(images.source) + len(images.digests),  # without the corrupt ones among them
    )
    return table, equalized, run_guards(calibrated)


def _collect(
    fp32: Path, histograms: bool, images: CalibrationImages, progress: Progress
) -> tuple[Equalization, dict[str, Range], ir.Model]:
    """The equalization, the ranges of the equalized graph, and that graph.

    A first pass over one split of the images finds the channels' extremes, which give the equalization. A second pass
    over all images collects histograms of the equalized graph. A method that needs no histogram takes one pass over
    all images: the extremes of the equalized graph follow from those of the fp32 graph.
    """
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collect import collect_ranges
    from wrn_deploy.calib.collection.table import Equalization
    from wrn_deploy.calib.equalization.equalize import equalize, equalized_ranges, find_equalization

    threads = images.options.threads

    def collect(graph: Path) -> dict[str, Range]:
        with progress.task(f"Collecting ranges on {len(images.digests)} images", len(images.digests)) as advance:
            return collect_ranges(graph, images.normalized(advance), histograms=histograms, threads=threads)

    if not images.options.equalize:
        return Equalization(), collect(fp32), equalize(ir.load(fp32), Equalization())
    with progress.task("Collecting the channels' ranges, to equalise them") as advance:
        first = images.first_split(advance) if histograms else images.normalized(advance)
        ranges = collect_ranges(fp32, first, histograms=False, threads=threads)
    model = ir.load(fp32)
    found = find_equalization(model.graph, ranges)
    if not histograms:
        return found, equalized_ranges(model.graph, ranges, found), equalize(model, found)
    with scratch_folder() as folder:
        equalized = folder / "equalized.onnx"
        ir.save(equalize(model, found), equalized)
        del model  # keeps memory flat: the graph is read again after the pass
        return found, collect(equalized), ir.load(equalized)


def _graph_recipes(
    table: Artifact, *, fp32: Artifact, fp16: Artifact, options: Quantization, tools: dict[str, str]
) -> dict[str, Recipe]:
    """How the int8 graphs are made, by artifact key; the graph for ONNX Runtime needs no fp16 graph."""
    parents = {key: (table, fp32, fp16) if key == GRAPH else (table, fp32) for key in GRAPHS}
    described = options.describe()
    return {
        key: Recipe(parents={made.key: made.sha256 for made in used}, options=described, tools=tools)
        for key, used in parents.items()
    }
