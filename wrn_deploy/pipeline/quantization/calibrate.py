"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, Transaction
from wrn_deploy.calib.warning import CalibrationWarning, report_warnings
from wrn_deploy.machine import package_versions
from wrn_deploy.pipeline.quantization.agreement import compare_with_fp32
from wrn_deploy.pipeline.quantization.base_graph import read_unwrapped, unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages
from wrn_deploy.pipeline.quantization.overlap import IMAGES, add_images, images_recipe
from wrn_deploy.pipeline.quantization.quantize import Quantization, images_for_rounding, write_graphs
from wrn_deploy.pipeline.quantization.state import GRAPH, UNTUNED, is_finetuned, is_tuned, made_by
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
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
    remedy = f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}"
    weights, fp32, fp16 = (bundle.find(key, remedy) for key in ("weights", "onnx-fp32", "onnx-fp16"))
    images = CalibrationImages(bundle, options)
    images.read(progress)
    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    # The weights' file has the preprocessing in it: a model exported with another one needs another table.
    recipe = Recipe(
        parents={weights.key: weights.sha256, fp32.key: fp32.sha256}, options=images.describe(), tools=tools
    )
    artifact = bundle.current("calibration", recipe)
    graphs = _GraphRecipes(fp32=fp32, fp16=fp16, quantization=options.quantization, tools=tools)
    if artifact is not None and graphs.current(bundle, artifact) and bundle.current(IMAGES, images_recipe(artifact)):
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return artifact
    if is_tuned(bundle.artifacts.get(GRAPH)):
        progress.warn(f"{bundle.folder}: this replaces the tuned int8 graph; run `wrn-deploy tune` again")
    if any(is_finetuned(bundle.artifacts.get(key)) for key in GRAPHS):
        progress.warn(f"{bundle.folder}: this replaces fine-tuned int8 graphs; run `wrn-deploy finetune` again")
    if artifact is None:
        with unwrapped_file(bundle.file(fp32), bundle.spec) as graph:
            table, equalized, warnings = _calibrate(graph, fp32.sha256, method, images, progress)
    else:
        table, equalized = _read_table(bundle.file(artifact), bundle.file(fp32))
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
        _write_graphs(step, equalized, table, images, progress)
        del equalized  # frees its weights before sessions are opened
        graphs.add(step, artifact)
        add_images(step, artifact, images.digests)
        with progress.task("Comparing the int8 graphs with fp32"):
            staged = {key: step.file(file) for key, file in GRAPHS.items()}
            compare_with_fp32(bundle.file(fp32), staged, images, progress)
    return artifact


def _read_table(table: Path, fp32: Path) -> tuple[CalibrationTable, ir.Model]:
    """The table in a file, and the graph equalized by it."""
    from wrn_deploy.calib.collection.table import read_table
    from wrn_deploy.calib.equalization.equalize import equalize

    found = read_table(table)
    return found, equalize(read_unwrapped(fp32), found.equalization)


def _calibrate(
    graph: Path, graph_sha256: str, method: Any, images: CalibrationImages, progress: Progress
) -> tuple[CalibrationTable, ir.Model, list[CalibrationWarning]]:
    """The table of the unwrapped fp32 graph in `graph`, the graph equalized by it, and what the guards warn of."""
    from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
    from wrn_deploy.calib.guard import Calibrated, run_guards

    options = images.options

    def threshold(histogram: Histogram | None, amax: float) -> float:
        return float(method.threshold(histogram, amax, options.percentile))

    equalization, ranges, equalized = _collect(graph, method.NEEDS_HISTOGRAM, images, progress)
    tensors = {}
    for name, found in ranges.items():
        amax = threshold(found.histogram, found.amax)
        tensors[name] = TensorRange(low=found.low, high=found.high, amax=amax, clipped=found.share_above(amax))
    table = CalibrationTable(
        method=options.method,
        percentile=options.percentile if options.method == "percentile" else None,
        data=Path(images.source.name).name,
        data_digest=images.digest,
        images=images.count,
        graph_sha256=graph_sha256,
        tensors=tensors,
        equalization=equalization,
    )
    return (
        table,
        equalized,
        run_guards(Calibrated(graph=equalized.graph, ranges=ranges, table=table, threshold=threshold)),
    )


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
        with progress.task(f"Collecting ranges on {images.count} images", images.count) as advance:
            counted = _counted(images.normalized(), advance)
            return collect_ranges(graph, counted, histograms=histograms, threads=threads)

    if not images.options.equalize:
        return Equalization(), collect(fp32), equalize(ir.load(fp32), Equalization())
    first = images.first_split() if histograms else images.normalized()
    with progress.task("Collecting the channels' ranges, to equalise them") as advance:
        ranges = collect_ranges(fp32, _counted(first, advance), histograms=False, threads=threads)
    model = ir.load(fp32)
    found = find_equalization(model.graph, ranges)
    if not histograms:
        return found, equalized_ranges(model.graph, ranges, found), equalize(model, found)
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        equalized = Path(folder) / "equalized.onnx"
        ir.save(equalize(model, found), equalized)
        del model  # keeps memory flat: the graph is read again after the pass
        return found, collect(equalized), ir.load(equalized)


def _counted(
    batches: Iterable[npt.NDArray[np.float32]], advance: Callable[[int], None]
) -> Iterator[npt.NDArray[np.float32]]:
    """The same batches; `advance` gets the number of images of each."""
    for batch in batches:
        yield batch
        advance(len(batch))


def _write_graphs(
    step: Transaction, equalized: ir.Model, table: CalibrationTable, images: CalibrationImages, progress: Progress
) -> None:
    """Stages the int8 graphs."""
    quantization = images.options.quantization
    chosen = images.first(images_for_rounding(equalized, images.count)) if quantization.needs_images else None
    graphs = write_graphs(
        equalized, table, quantization, preprocessing=images.preprocessing, images=chosen, progress=progress
    )
    for key, graph in graphs.items():
        file = step.file(GRAPHS[key])
        write_wrapped(graph, file, images.spec, fp32=equalized, equalization=table.equalization)


@dataclass(frozen=True, slots=True, kw_only=True)
class _GraphRecipes:
    """How the int8 graphs are made from the fp32 and fp16 graphs and a table."""

    fp32: Artifact
    fp16: Artifact
    quantization: Quantization
    tools: dict[str, str]

    def add(self, step: Transaction, table: Artifact) -> None:
        """Adds the staged graphs to the transaction."""
        for key, file in GRAPHS.items():
            step.add(key, kind=Kind.ONNX, precision=Precision.INT8, path=file, recipe=self._recipe(key, table))

    def current(self, bundle: Bundle, table: Artifact) -> bool:
        """Whether the bundle has all of them, made by these recipes, even if they were tuned or fine-tuned since."""
        return all(self._is_current(bundle, key, self._recipe(key, table)) for key in GRAPHS)

    def _is_current(self, bundle: Bundle, key: str, recipe: Recipe) -> bool:
        if made_by(bundle, key, recipe):
            return True
        return is_tuned(bundle.artifacts.get(key)) and bundle.current(UNTUNED, recipe) is not None

    def _recipe(self, key: str, table: Artifact) -> Recipe:
        used = (table, self.fp32, self.fp16) if key == GRAPH else (table, self.fp32)  # the CPU's needs no fp16 graph
        return Recipe(
            parents={parent.key: parent.sha256 for parent in used},
            options=self.quantization.describe(),
            tools=self.tools,
        )
