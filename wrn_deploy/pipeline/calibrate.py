"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Progress
from wrn_deploy.sessions import infer_with, open_session
from wrn_deploy.spec import Precision

__all__ = ["CalibrateOptions", "calibrate_bundle"]

METHODS = "wrn_deploy.calib.methods"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy")
CHECKED, CHECK_BATCH = 32, 4  # images on which the int8 graphs are compared with fp32
GRAPHS = {"onnx-int8-tensorrt": "int8-tensorrt.onnx", "onnx-int8-onnxruntime": "int8-onnxruntime.onnx"}


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What to calibrate on, and how; `percentile` matters for that method alone."""

    data: str
    size: int = 256
    method: str = "percentile"
    percentile: float = 99.99
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
    if table is not None and _graphs_current(bundle, (table, fp32, fp16), tools):
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return table
    found = _table(bundle, (fp32, method), images, progress) if table is None else _read(bundle, table)
    with bundle.transaction() as step:
        step.file("calibration.json").write_text(found.to_json(), encoding="utf-8")
        facts = {"images": found.images, "largest_clipped": max(kept.clipped for kept in found.tensors.values())}
        artifact = step.add("calibration", (Kind.CALIBRATION, Precision.INT8), "calibration.json", recipe, facts)
        _write_graphs(bundle, step, (artifact, fp32, fp16), (found, tools))
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
            "preprocessing": dataclasses.asdict(self.how),
            **chosen,
        }

    def normalized(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """The images in batches of `size`, (N, 3, H, W)."""
        return (normalize(batch.images, self.how) for batch in self._batches(size))

    def _batches(self, size: int) -> Batches:
        return Batches(self.source, self.how, size, max_corrupt=self.options.max_corrupt)


def _read(bundle: Bundle, table: Artifact) -> Any:
    from wrn_deploy.calib.table import read_table

    return read_table(bundle.file(table))


def _table(bundle: Bundle, how: tuple[Artifact, Any], images: _CalibrationImages, progress: Progress) -> Any:
    from wrn_deploy.calib.collect import collect_ranges
    from wrn_deploy.calib.table import CalibrationTable, TensorRange

    (fp32, method), options = how, images.options
    with progress.task(f"Calibrating ({options.method}) on {images.count} images", images.count) as advance:
        batches = _counted(images.normalized, advance)
        ranges = collect_ranges(bundle.file(fp32), batches, method.NEEDS_HISTOGRAM, options.threads)
    tensors = {}
    for name, found in ranges.items():
        amax = method.threshold(found.histogram, found.amax, options.percentile)
        tensors[name] = TensorRange(found.low, found.high, amax, found.share_above(amax))
    percentile = options.percentile if options.method == "percentile" else None
    return CalibrationTable(
        options.method, percentile, Path(images.source.name).name, images.digest, images.count, fp32.sha256, tensors
    )


def _counted(
    batches: Callable[[int], Iterator[npt.NDArray[np.float32]]], advance: Callable[[int], None]
) -> Callable[[int], Iterator[npt.NDArray[np.float32]]]:
    def counted(size: int) -> Iterator[npt.NDArray[np.float32]]:
        for batch in batches(size):
            yield batch
            advance(len(batch))

    return counted


def _write_graphs(
    bundle: Bundle, step: Transaction, parents: tuple[Artifact, ...], made: tuple[Any, dict[str, str]]
) -> None:
    import onnx_ir as ir

    from wrn_deploy.calib.for_onnxruntime import quantize_for_onnxruntime
    from wrn_deploy.calib.for_tensorrt import quantize_for_tensorrt

    (table, tools), (_, fp32, fp16) = made, parents
    graph = ir.load(bundle.file(fp32))
    ir.save(quantize_for_tensorrt(graph, ir.load(bundle.file(fp16)), table), step.file(GRAPHS["onnx-int8-tensorrt"]))
    ir.save(quantize_for_onnxruntime(graph, table), step.file(GRAPHS["onnx-int8-onnxruntime"]))
    for key, file in GRAPHS.items():
        step.add(key, (Kind.ONNX, Precision.INT8), file, _graph_recipe(key, parents, tools), {})


def _graph_recipe(key: str, parents: tuple[Artifact, ...], tools: dict[str, str]) -> Recipe:
    used = parents if key == "onnx-int8-tensorrt" else parents[:2]  # the fp16 graph is for TensorRT alone
    return Recipe({parent.key: parent.sha256 for parent in used}, {}, tools)


def _graphs_current(bundle: Bundle, parents: tuple[Artifact, ...], tools: dict[str, str]) -> bool:
    return all(bundle.current(key, _graph_recipe(key, parents, tools)) is not None for key in GRAPHS)


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
