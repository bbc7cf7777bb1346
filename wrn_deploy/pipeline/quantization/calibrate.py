"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, Transaction
from wrn_deploy.calib.warning import CalibrationWarning, report_warnings
from wrn_deploy.machine import package_versions
from wrn_deploy.pipeline.quantization.agreement import compare_with_fp32
from wrn_deploy.pipeline.quantization.base_graph import core_file, read_core, write_graph
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages, counted
from wrn_deploy.pipeline.quantization.overlap import IMAGES, add_images, images_recipe
from wrn_deploy.pipeline.quantization.quantize import Quantization, images_for_rounding, write_graphs
from wrn_deploy.pipeline.quantization.state import is_finetuned, made_by
from wrn_deploy.pipeline.tuned import GRAPH, UNTUNED, is_tuned
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

__all__ = ["PACKAGES", "CalibrateOptions", "calibrate_bundle"]

METHODS = "wrn_deploy.calib.methods"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "torch")
GRAPHS = {GRAPH: "int8-tensorrt.onnx", "onnx-int8-onnxruntime": "int8-onnxruntime.onnx"}


def calibrate_bundle(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> Artifact:
    """Adds calibration.json and the int8 graphs for TensorRT and for ONNX Runtime; returns the table's artifact.

    Raises:
        DeployError: no such method, the bundle has no graphs, or the data is empty, unreadable or gives activations
            that are not finite.
    """
    method = load_plugin(METHODS, options.method)
    remedy = f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}"
    weights, fp32, fp16 = (bundle.find(key, remedy) for key in ("weights", "onnx-fp32", "onnx-fp16"))
    images = CalibrationImages(bundle, options)
    images.read(progress)
    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    # The weights' file has the preprocessing in it: a model exported with another one needs another table.
    recipe = Recipe({weights.key: weights.sha256, fp32.key: fp32.sha256}, images.describe(), tools)
    table = bundle.current("calibration", recipe)
    graphs = _GraphRecipes((fp32, fp16), options.quantization, tools)
    if table is not None and graphs.current(bundle, table) and bundle.current(IMAGES, images_recipe(table)):
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return table
    if is_tuned(bundle.artifacts.get(GRAPH)):
        progress.warn(f"{bundle.folder}: this replaces the tuned int8 graph; run `wrn-deploy tune` again")
    if any(is_finetuned(bundle.artifacts.get(key)) for key in GRAPHS):
        progress.warn(f"{bundle.folder}: this replaces fine-tuned int8 graphs; run `wrn-deploy finetune` again")
    if table is None:
        with core_file(bundle.file(fp32), bundle.spec) as core:
            found, equal, warnings = _table(core, (fp32, method), images, progress)
    else:
        found, equal = _read(bundle.file(table), bundle.file(fp32))
        warnings = [CalibrationWarning(**kept) for kept in table.facts.get("guards", [])]
    report_warnings(warnings, progress)
    with bundle.transaction() as step:
        step.file("calibration.json").write_text(found.to_json(), encoding="utf-8")
        facts = {"images": found.images, "guards": [dataclasses.asdict(warning) for warning in warnings]}
        artifact = step.add("calibration", (Kind.CALIBRATION, Precision.INT8), "calibration.json", recipe, facts)
        _write(equal, step, (found, options.quantization, images), progress)
        del equal  # its weights, before sessions are opened
        graphs.add(step, artifact)
        add_images(step, artifact, images.digests)
        with progress.task("Comparing the int8 graphs with fp32"):
            staged = {key: step.file(file) for key, file in GRAPHS.items()}
            compare_with_fp32(bundle.file(fp32), staged, images, progress)
    return artifact


def _read(table: Path, fp32: Path) -> tuple[Any, Any]:
    """The table that is there, and the graph equalised by it."""
    from wrn_deploy.calib.collection.table import read_table
    from wrn_deploy.calib.equalization.equalize import equalize

    found = read_table(table)
    return found, equalize(read_core(fp32), found.equalization)


def _table(
    core: Path, how: tuple[Artifact, Any], images: CalibrationImages, progress: Progress
) -> tuple[Any, Any, list[CalibrationWarning]]:
    """The table, the graph equalised by it, and what makes it doubtful; `core`: the fp32 graph without an interface."""
    from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
    from wrn_deploy.calib.guard import Calibrated, run_guards

    (fp32, method), options = how, images.options

    def limit(histogram: Any, amax: float) -> float:
        return float(method.threshold(histogram, amax, options.percentile))

    equalization, ranges, equal = _collect(core, method.NEEDS_HISTOGRAM, images, progress)
    tensors = {}
    for name, found in ranges.items():
        amax = limit(found.histogram, found.amax)
        tensors[name] = TensorRange(found.low, found.high, amax, found.share_above(amax))
    percentile = options.percentile if options.method == "percentile" else None
    name = Path(images.source.name).name
    table = CalibrationTable(
        options.method, percentile, name, images.digest, images.count, fp32.sha256, tensors, equalization
    )
    return table, equal, run_guards(Calibrated(graph=equal.graph, ranges=ranges, table=table, threshold=limit))


def _collect(fp32: Path, histograms: bool, images: CalibrationImages, progress: Progress) -> tuple[Any, Any, Any]:
    """The equalisation, the ranges of the equalised graph, and that graph.

    A first pass finds the channels' extremes, on half of the images. Where a method needs no histogram, one pass over
    all of them is enough: the extremes of the equalised graph follow from those.
    """
    import onnx_ir as ir

    from wrn_deploy.calib.collection.collect import collect_ranges
    from wrn_deploy.calib.collection.table import Equalization
    from wrn_deploy.calib.equalization.equalize import equalize, equalized_ranges, find_equalization

    threads = images.options.threads
    if not images.options.equalize:
        with progress.task(f"Collecting ranges on {images.count} images", images.count) as advance:
            ranges = collect_ranges(fp32, counted(images.normalized, advance), histograms, threads)
        return Equalization(), ranges, equalize(ir.load(fp32), Equalization())
    first = images.half if histograms else images.normalized
    with progress.task("Collecting the channels' ranges, to equalise them") as advance:
        ranges = collect_ranges(fp32, counted(first, advance), histograms=False, threads=threads)
    model = ir.load(fp32)
    found = find_equalization(model.graph, ranges)
    if not histograms:
        return found, equalized_ranges(model.graph, ranges, found), equalize(model, found)
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        equal = Path(folder) / "equalized.onnx"
        ir.save(equalize(model, found), equal)
        del model  # so that memory is flat: the graph is read again behind the pass
        with progress.task(f"Collecting ranges on {images.count} images", images.count) as advance:
            ranges = collect_ranges(equal, counted(images.normalized, advance), histograms, threads)
        return found, ranges, ir.load(equal)


def _write(equal: Any, step: Transaction, how: tuple[Any, Quantization, CalibrationImages], progress: Progress) -> None:
    """Stages the int8 graphs."""
    table, techniques, images = how
    held = images.first(images_for_rounding(equal, images.count)) if techniques.looks_at_images else None
    for key, graph in write_graphs(equal, (table, techniques, images.how), held, progress).items():
        write_graph(graph, step.file(GRAPHS[key]), images.spec, (equal, table.equalization))


@dataclass(frozen=True, slots=True)
class _GraphRecipes:
    """How the int8 graphs are made from the fp32 and fp16 graphs and a table."""

    parents: tuple[Artifact, Artifact]
    techniques: Quantization
    tools: dict[str, str]

    def add(self, step: Transaction, table: Artifact) -> None:
        """Enters the staged graphs."""
        for key, file in GRAPHS.items():
            step.add(key, (Kind.ONNX, Precision.INT8), file, self._recipe(key, table), {})

    def current(self, bundle: Bundle, table: Artifact) -> bool:
        """Whether the bundle has all of them, made in this way; those that were tuned or trained since count."""
        return all(self._is_current(bundle, key, self._recipe(key, table)) for key in GRAPHS)

    def _is_current(self, bundle: Bundle, key: str, recipe: Recipe) -> bool:
        if made_by(bundle, key, recipe):
            return True
        return is_tuned(bundle.artifacts.get(key)) and bundle.current(UNTUNED, recipe) is not None

    def _recipe(self, key: str, table: Artifact) -> Recipe:
        fp32, fp16 = self.parents  # the fp16 graph tells TensorRT's from a graph for a CPU
        used = (table, fp32, fp16) if key == GRAPH else (table, fp32)
        return Recipe({parent.key: parent.sha256 for parent in used}, self.techniques.describe(), self.tools)
