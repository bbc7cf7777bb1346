"""The fp8 step: the graph with Q/DQ of float8e4m3fn, from the bundle's calibration table; experimental."""

from __future__ import annotations

from wrn_deploy.bundle import Bundle
from wrn_deploy.machine import package_versions
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.quantization.base_graph import read_equalized, write_wrapped
from wrn_deploy.pipeline.quantization.calibrate import PACKAGES
from wrn_deploy.pipeline.quantization.comparing import FirstImages
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

__all__ = ["FP8_GRAPH", "add_fp8"]

FP8_GRAPH, FILE = "onnx-fp8-tensorrt", "fp8-tensorrt.onnx"
OPTIONS = {"ranges": "extremes", "weights": "per-tensor", "rounding": "nearest", "first_convs": "fp16"}


def add_fp8(bundle: Bundle, options: CalibrateOptions, progress: Progress) -> Artifact:
    """Adds fp8-tensorrt.onnx from the table that `calibrate_bundle` wrote with the same options.

    Of the techniques for int8 it uses equalization alone, which is in the table.

    Raises:
        DeployError: the bundle has no table or no graphs, or the images cannot be read.
    """
    remedy = f"wrn-deploy calibrate {bundle.folder} --calib-data {options.data} --fp8"
    table, fp32, fp16 = (bundle.find(key, remedy) for key in ("calibration", "onnx-fp32", "onnx-fp16"))
    parents = {parent.key: parent.sha256 for parent in (table, fp32, fp16)}
    recipe = Recipe(parents=parents, options=OPTIONS, tools={"wrn-deploy": __version__, **package_versions(*PACKAGES)})
    current = bundle.current(FP8_GRAPH, recipe)
    if current is not None:
        progress.note(f"{bundle.folder}: the fp8 graph is up to date")
        return current
    from wrn_deploy.calib.writing.for_tensorrt import quantize_fp8
    from wrn_deploy.export.half import convert_fp16

    equalized, found = read_equalized(bundle)
    with bundle.transaction() as step:
        graph = quantize_fp8(equalized, convert_fp16(equalized), found)
        write_wrapped(graph, step.file(FILE), bundle.spec, fp32=equalized, equalization=found.equalization)
        artifact = step.add(
            FP8_GRAPH, kind=Kind.ONNX, precision=Precision.FP8, path=FILE, recipe=recipe, facts={"experimental": True}
        )
        with progress.task("Comparing the fp8 graph with fp32"):
            pixels = CalibrationImages(bundle, options).first_pixels()
            first = FirstImages(pixels=pixels, spec=bundle.spec, threads=options.threads)
            first.compare(first.answers(bundle.file(fp32)), {FP8_GRAPH: step.file(FILE)}, progress)
    return artifact
