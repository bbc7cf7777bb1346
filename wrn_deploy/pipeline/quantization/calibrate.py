"""The calibration step: ranges of the fp32 graph on real images, and the Q/DQ graphs written from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Recipe
from wrn_deploy.pipeline.networks.checks import check_bundle_room
from wrn_deploy.pipeline.quantization.base_graph import unwrapped_file
from wrn_deploy.pipeline.quantization.collecting import Collector
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages, UsedImages
from wrn_deploy.pipeline.quantization.overlap import CALIBRATION
from wrn_deploy.pipeline.quantization.state import GRAPH, GRAPHS, made_by
from wrn_deploy.pipeline.quantization.writing import warn_of_replaced, write_calibration
from wrn_deploy.plugins import load_plugin
from wrn_deploy.progress import Progress
from wrn_deploy.spec import IMPORTED
from wrn_deploy.version import __version__

if TYPE_CHECKING:
    from wrn_deploy.calib.collection.collected import Collected

__all__ = [
    "INT8_SHARE", "PACKAGES", "CalibrateOptions", "CalibrationBase", "CalibrationRequest", "calibrate_bundle",
    "find_base", "is_calibrated", "request_calibration",
]  # fmt: skip

METHODS = "wrn_deploy.calib.methods"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "torch")
INT8_SHARE = 0.6  # of the fp32 graph's size: two int8 graphs, a quarter each, and the table


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
    base = find_base(bundle, options.method)
    images = CalibrationImages(bundle, options)
    check_bundle_room(bundle, INT8_SHARE, "calibration")
    images.read(progress)
    asked = request_calibration(bundle, base, options, images.used)
    if asked.current is not None:
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return asked.current
    warn_of_replaced(bundle, progress)
    return write_calibration(bundle, asked, _collect(bundle, base, images, progress), progress)


def is_calibrated(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> bool:
    """Whether `calibrate_bundle` would find everything up to date: reads the images, and writes nothing."""
    base, images = find_base(bundle, options.method), CalibrationImages(bundle, options)
    images.read(progress)
    return request_calibration(bundle, base, options, images.used).current is not None


def _collect(bundle: Bundle, base: CalibrationBase, images: CalibrationImages, progress: Progress) -> Collected:
    from threadpoolctl import threadpool_limits

    # The products of calibration are small: more threads would wait for each other longer than they compute.
    with unwrapped_file(bundle.file(base.fp32), bundle.spec) as core, threadpool_limits(1, "blas"):
        collector = Collector.open(core, images, progress)
        return collector.collect(images, histograms=base.method.NEEDS_HISTOGRAM, progress=progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBase:
    """What a calibration starts from.

    Attributes:
        method: the plugin.
        fp32, fp16: the bundle's graphs.
        parents: digests of what the table depends on, by artifact key.
        tools: versions of the packages.
    """

    method: Any
    fp32: Artifact
    fp16: Artifact
    parents: dict[str, str]
    tools: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRequest:
    """How the table is made, and of which images; `current` is the table if it and the graphs are up to date."""

    base: CalibrationBase
    options: CalibrateOptions
    used: UsedImages
    recipe: Recipe
    current: Artifact | None = None

    def graph_recipes(self, table: Artifact) -> dict[str, Recipe]:
        """How the int8 graphs are made from `table`, by artifact key; the one for ONNX Runtime needs no fp16 graph."""
        base, described = self.base, self.options.quantization.describe()
        parents = {key: (table, base.fp32, base.fp16) if key == GRAPH else (table, base.fp32) for key in GRAPHS}
        return {
            key: Recipe(parents={made.key: made.sha256 for made in used}, options=described, tools=self.recipe.tools)
            for key, used in parents.items()
        }


def find_base(bundle: Bundle, method: str) -> CalibrationBase:
    """What a calibration of the bundle starts from.

    Raises:
        DeployError: no such method, or the bundle has no graphs.
    """
    plugin = load_plugin(METHODS, method)
    fp32, fp16 = (bundle.find(key) for key in ("onnx-fp32", "onnx-fp16"))
    # The weights' file, or an imported graph, has the preprocessing in it: with another one it needs another table.
    parents = [fp32] if bundle.spec.family == IMPORTED else [bundle.find("weights"), fp32]
    return CalibrationBase(
        method=plugin,
        fp32=fp32,
        fp16=fp16,
        parents={made.key: made.sha256 for made in parents},
        tools={"wrn-deploy": __version__, **package_versions(*PACKAGES)},
    )


def request_calibration(
    bundle: Bundle, base: CalibrationBase, options: CalibrateOptions, used: UsedImages
) -> CalibrationRequest:
    """What is asked for with these options and images, and whether it is there."""
    chosen = {"percentile": options.percentile} if options.method == "percentile" else {}
    described = {
        **used.describe(),
        "method": options.method,
        "equalize": options.equalize,
        "preprocessing": dataclasses.asdict(bundle.spec.preprocessing),
        **chosen,
    }
    recipe = Recipe(parents=base.parents, options=described, tools=base.tools)
    asked = CalibrationRequest(base=base, options=options, used=used, recipe=recipe)
    table = bundle.current("calibration", recipe)
    if table is None or not CALIBRATION.find(bundle):
        return asked
    made = all(made_by(bundle, key, graph_recipe) for key, graph_recipe in asked.graph_recipes(table).items())
    return dataclasses.replace(asked, current=table) if made else asked
