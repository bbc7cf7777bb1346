"""A pre-activation ImageNet network goes the whole way: export, int8 graphs, lint, a plan; shallow, small images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.models import describe_model
from wrn_deploy.models.conditioning import build_random
from wrn_deploy.models.weights import write_weights
from wrn_deploy.pipeline.build import BuildOptions, build_engine
from wrn_deploy.pipeline.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.export import ExportOptions, export_bundle, probe_images
from wrn_deploy.pipeline.lint import lint_file
from wrn_deploy.pipeline.quantize import Quantization, Rounding
from wrn_deploy.progress import Silent
from wrn_deploy.spec import ModelSpec, Precision

SIDE = 32


def _small(name: str) -> ModelSpec:
    spec = describe_model(name)
    how = dataclasses.replace(spec.preprocessing, height=SIDE, width=SIDE, resize=SIDE)
    return dataclasses.replace(spec, classes=10, preprocessing=how)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """From a weight file that says how large its images are."""
    folder, spec = tmp_path_factory.mktemp("small"), _small("preresnet-26")
    network = build_random(spec, torch.from_numpy(probe_images(spec, 8)), seed=0)
    write_weights(network, spec, folder / "weights.safetensors")
    bundle = export_bundle(ExportOptions(spec.name, folder / "bundle", folder / "weights.safetensors"), Silent())
    calibrate_bundle(
        bundle, CalibrateOptions("digits", 16, quantization=Quantization(rounding=Rounding.NEAREST)), Silent()
    )
    return Bundle.open(bundle.folder)


def _file(bundle: Bundle, artifact: str) -> Path:
    return bundle.file(bundle.artifacts[artifact])


def test_both_graphs_compute_what_the_network_does(calibrated: Bundle) -> None:
    assert calibrated.spec.input.shape == (3, SIDE, SIDE)
    for precision, least in ((Precision.FP32, 0.999999), (Precision.FP16, 0.9995)):
        parity = calibrated.artifacts[f"onnx-{precision}"].facts["parity"]
        assert min(record["cosine"] for record in parity) >= least


def test_every_conv_is_in_int8_for_tensorrt_and_nothing_keeps_a_kernel_from_it(calibrated: Bundle) -> None:
    report = lint_file(_file(calibrated, "onnx-int8-tensorrt"), None)
    assert (report.int8_convs, report.float_convs) == (29, 0)
    assert {finding.rule.id for finding in report.findings} <= {"QDQ106"}, "sums that a BN reads too"


def test_every_conv_and_all_but_the_last_norm_are_in_int8_for_onnxruntime(calibrated: Bundle) -> None:
    report = lint_file(_file(calibrated, "onnx-int8-onnxruntime"), None)
    first_norms = 8  # of each block; no Conv can take them in, and they become Convs
    assert (report.int8_convs, report.float_convs) == (29 + first_norms, 0)
    assert {finding.rule.id for finding in report.findings} == {"QDQ505"}


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
def test_the_plan_has_the_convs_in_int8(calibrated: Bundle) -> None:
    options = BuildOptions(Precision.INT8, EngineOptions((Profile(1, 2, 4),)), Flavor.RTX)
    proof = build_engine(calibrated, options, Silent()).facts["precision"]
    assert (proof["less"], proof["unknown"], proof["reformats"]) == ([], [], 0)
    assert proof["shares"]["int8"] > 0.99
