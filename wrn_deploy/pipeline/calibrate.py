"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy import __version__
from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, Transaction
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.digest import DataDigest
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.spread import Spread
from wrn_deploy.errors import UsageError
from wrn_deploy.machine import package_versions
from wrn_deploy.pipeline.quantize import Quantization, images_for_rounding, write_graphs
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Progress
from wrn_deploy.sessions import infer_with, open_session
from wrn_deploy.spec import Precision

__all__ = ["CalibrateOptions", "calibrate_bundle"]

METHODS = "wrn_deploy.calib.methods"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "torch")
CHECKED, CHECK_BATCH = 32, 4  # images on which the int8 graphs are compared with fp32
GRAPHS = {"onnx-int8-tensorrt": "int8-tensorrt.onnx", "onnx-int8-onnxruntime": "int8-onnxruntime.onnx"}


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What to calibrate on, and how; `percentile` matters for that method alone."""

    data: str
    size: int = 256
    method: str = "mse"
    percentile: float = 99.99
    equalize: bool = True
    quantization: Quantization = field(default_factory=Quantization)
    threads: int | None = None
    max_corrupt: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"--calib-size {self.size}: expected at least 1 image")
        if not 50.0 <= self.percentile <= 100.0:
            raise UsageError(f"--percentile {self.percentile}: expected 50 to 100, as in 99.99")


def calibrate_bundle(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> Artifact:
    """Adds calibration.json and the int8 graphs for TensorRT and for ONNX Runtime; returns the table's artifact.

    Raises:
        DeployError: no such method, the bundle has no graphs, or the data is empty, unreadable or gives activations
            that are not finite.
    """
    method = load_plugin(METHODS, options.method)
    remedy = f"wrn-deploy export {bundle.spec.name} --weights FILE --out {bundle.folder}"
    weights, fp32, fp16 = (bundle.find(key, remedy) for key in ("weights", "onnx-fp32", "onnx-fp16"))
    images = _CalibrationImages(bundle, options)
    images.read(progress)
    tools = {"wrn-deploy": __version__, **package_versions(*PACKAGES)}
    # The weights' file has the preprocessing in it: a model exported with another one needs another table.
    recipe = Recipe({weights.key: weights.sha256, fp32.key: fp32.sha256}, images.describe(), tools)
    table = bundle.current("calibration", recipe)
    graphs = _GraphRecipes((fp32, fp16), options.quantization, tools)
    if table is not None and graphs.current(bundle, table):
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return table
    found = _table(bundle, (fp32, method), images, progress) if table is None else _read(bundle, table)
    with bundle.transaction() as step:
        step.file("calibration.json").write_text(found.to_json(), encoding="utf-8")
        facts = {"images": found.images, "largest_clipped": max(kept.clipped for kept in found.tensors.values())}
        artifact = step.add("calibration", (Kind.CALIBRATION, Precision.INT8), "calibration.json", recipe, facts)
        _write(bundle.file(fp32), step, (found, options.quantization, images), progress)
        graphs.add(step, artifact)
        with progress.task("Comparing the int8 graphs with fp32"):
            _compare(bundle.file(fp32), step, images, progress)
    return artifact


class _CalibrationImages:
    """The chosen images: the same ones, spread evenly over the data, every time they are gone through."""

    def __init__(self, bundle: Bundle, options: CalibrateOptions) -> None:
        self.options = options
        self.how = bundle.spec.preprocessing
        source = open_data(options.data, Role.TRAIN)
        self.available = len(source)
        self.source = Spread(source, options.size)
        self.digest = ""
        self.count = 0

    def read(self, progress: Progress) -> None:
        """Reads every image once: finds corrupt ones before any work is done, and makes the digest."""
        digest = DataDigest()
        batches = self._batches(64)
        with progress.task(f"Reading {len(batches)} calibration images", len(batches)) as advance:
            for batch in batches:
                digest.add(batch.images)
                self.count += len(batch.images)
                advance(len(batch.images))
        self.digest = digest.hexdigest()
        if self.available < self.options.size:
            progress.warn(
                f"{self.source.name} has {self.available} images, fewer than --calib-size {self.options.size}"
            )
        if batches.corrupt:
            progress.warn(f"left out {len(batches.corrupt)} corrupt calibration images: {', '.join(batches.corrupt)}")

    def describe(self) -> dict[str, Any]:
        """What makes a calibration the same: the images themselves, the method and its options."""
        chosen = {"percentile": self.options.percentile} if self.options.method == "percentile" else {}
        return {
            "data": Path(self.source.name).name,
            "data_digest": self.digest,
            "images": self.count,
            "method": self.options.method,
            "equalize": self.options.equalize,
            "preprocessing": dataclasses.asdict(self.how),
            **chosen,
        }

    def normalized(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """The images in batches of `size`, (N, 3, H, W)."""
        return (normalize(batch.images, self.how) for batch in self._batches(size))

    def half(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """About half of them, one at a time; which ones depends on their pixels alone, not on their order."""
        del size
        chosen = False
        for image in self.normalized(1):
            if zlib.crc32(image.data) & 1:
                chosen = True
                yield image
        if not chosen:
            yield from self.normalized(1)

    def first(self, count: int) -> npt.NDArray[np.float32]:
        """So many of them, (count, 3, H, W)."""
        batch = next(iter(self._batches(count)))
        return normalize(batch.images, self.how)

    def _batches(self, size: int) -> Batches:
        return Batches(self.source, self.how, size, max_corrupt=self.options.max_corrupt)


def _read(bundle: Bundle, table: Artifact) -> Any:
    from wrn_deploy.calib.table import read_table

    return read_table(bundle.file(table))


def _table(bundle: Bundle, how: tuple[Artifact, Any], images: _CalibrationImages, progress: Progress) -> Any:
    from wrn_deploy.calib.table import CalibrationTable, TensorRange

    (fp32, method), options = how, images.options

    def limit(histogram: Any, amax: float) -> float:
        return float(method.threshold(histogram, amax, options.percentile))

    equalization, ranges = _collect(bundle.file(fp32), method.NEEDS_HISTOGRAM, images, progress)
    tensors = {}
    for name, found in ranges.items():
        amax = limit(found.histogram, found.amax)
        tensors[name] = TensorRange(found.low, found.high, amax, found.share_above(amax))
    percentile = options.percentile if options.method == "percentile" else None
    name = Path(images.source.name).name
    return CalibrationTable(
        options.method, percentile, name, images.digest, images.count, fp32.sha256, tensors, equalization
    )


def _collect(fp32: Path, histograms: bool, images: _CalibrationImages, progress: Progress) -> tuple[Any, Any]:
    """The equalisation, and the ranges of the equalised graph.

    A first pass finds the channels' extremes, on half of the images. Where a method needs no histogram, one pass over
    all of them is enough: the extremes of the equalised graph follow from those.
    """
    import onnx_ir as ir

    from wrn_deploy.calib.collect import collect_ranges
    from wrn_deploy.calib.equalize import equalize, equalized_ranges, find_equalization
    from wrn_deploy.calib.table import Equalization

    threads = images.options.threads
    if not images.options.equalize:
        with progress.task(f"Collecting ranges on {images.count} images", images.count) as advance:
            return Equalization(), collect_ranges(fp32, _counted(images.normalized, advance), histograms, threads)
    first = images.half if histograms else images.normalized
    with progress.task("Collecting the channels' ranges, to equalise them") as advance:
        ranges = collect_ranges(fp32, _counted(first, advance), histograms=False, threads=threads)
    model = ir.load(fp32)
    found = find_equalization(model.graph, ranges)
    if not histograms:
        return found, equalized_ranges(model.graph, ranges, found)
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-") as folder:
        equal = Path(folder) / "equalized.onnx"
        ir.save(equalize(model, found), equal)
        del model
        with progress.task(f"Collecting ranges on {images.count} images", images.count) as advance:
            return found, collect_ranges(equal, _counted(images.normalized, advance), histograms, threads)


def _counted(
    batches: Callable[[int], Iterator[npt.NDArray[np.float32]]], advance: Callable[[int], None]
) -> Callable[[int], Iterator[npt.NDArray[np.float32]]]:
    def counted(size: int) -> Iterator[npt.NDArray[np.float32]]:
        for batch in batches(size):
            yield batch
            advance(len(batch))

    return counted


def _write(
    fp32: Path, step: Transaction, how: tuple[Any, Quantization, _CalibrationImages], progress: Progress
) -> None:
    """Stages the int8 graphs."""
    import onnx_ir as ir

    (table, techniques, images), model = how, ir.load(fp32)
    held = images.first(images_for_rounding(model, images.count)) if techniques.looks_at_images else None
    for key, graph in write_graphs(model, (table, techniques, images.how), held, progress).items():
        ir.save(graph, step.file(GRAPHS[key]))


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
        """Whether the bundle has all of them, made in this way."""
        return all(bundle.current(key, self._recipe(key, table)) is not None for key in GRAPHS)

    def _recipe(self, key: str, table: Artifact) -> Recipe:
        fp32, fp16 = self.parents  # the fp16 graph tells TensorRT's from a graph for a CPU
        used = (table, fp32, fp16) if key == "onnx-int8-tensorrt" else (table, fp32)
        return Recipe({parent.key: parent.sha256 for parent in used}, self.techniques.describe(), self.tools)


def _compare(fp32: Path, step: Transaction, images: _CalibrationImages, progress: Progress) -> None:
    """Tells how the int8 graphs agree with fp32 on some of the images: a first look, before `eval` measures it."""
    wanted = _answers(fp32, images)
    for key, file in GRAPHS.items():
        same = int((_answers(step.file(file), images) == wanted).sum())
        progress.note(f"{key}: same argmax as fp32 on {same} of {len(wanted)} calibration images")


def _answers(graph: Path, images: _CalibrationImages) -> npt.NDArray[np.int64]:
    """The argmax of the first images; one session at a time, since each holds the weights."""
    infer = infer_with(open_session(graph, images.options.threads))
    batches = itertools.islice(images.normalized(CHECK_BATCH), CHECKED // CHECK_BATCH)
    return np.concatenate([infer(batch).argmax(axis=1) for batch in batches])
