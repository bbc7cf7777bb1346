"""A small network of each family goes the whole way: export with feature maps, both int8 graphs, lint, a plan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import wrn_deploy
from tests.processor import HAS_VNNI
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.models import describe_model
from wrn_deploy.models.checkpoints.weights import write_weights
from wrn_deploy.models.random_init import build_random
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle, probe_images
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import ModelSpec, Precision

SIDE = 32

Maps = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Case:
    """A network, its int8 Convs for TensorRT, int8 (BN among them) and float ones for ONNX Runtime, and its maps."""

    name: str
    tensorrt: int
    onnxruntime: tuple[int, int]
    maps: Maps
    least: float = 0.995  # cosine of an int8 map with PyTorch's; a deep network without skips makes more of rounding


CASES = (
    Case(
        "preresnet-26",
        29,
        (29 + 8, 0),  # the first BN of each block has no Conv that could take it in
        {"feature_map_4": (256, 8, 8), "feature_map_8": (512, 4, 4), "feature_map_16": (1024, 2, 2)},
    ),
    Case(
        "preresnet-11",
        13,
        (12 + 2, 1),
        {"feature_map_1": (64, 32, 32), "feature_map_2": (128, 16, 16), "feature_map_4": (256, 8, 8)},
    ),
    Case(
        "resnet-10",
        12,
        (12, 0),
        {"feature_map_4": (64, 8, 8), "feature_map_8": (128, 4, 4), "feature_map_16": (256, 2, 2)},
    ),
    Case(
        "nin",
        9,
        (8, 1),
        {"feature_map_1": (96, 32, 32), "feature_map_2": (192, 16, 16), "feature_map_4": (192, 8, 8)},
    ),
    Case(
        "vgg",
        16,
        (15, 1),
        {
            "feature_map_1": (8, 32, 32), "feature_map_2": (16, 16, 16), "feature_map_4": (32, 8, 8),
            "feature_map_8": (64, 4, 4), "feature_map_16": (64, 2, 2),
        },
        0.9,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A case with its bundle."""

    case: Case
    bundle: Bundle

    def file(self, artifact: str) -> Path:
        """An artifact's file."""
        return self.bundle.file(self.bundle.artifacts[artifact])


def small_spec(name: str) -> ModelSpec:
    spec = describe_model(name)
    preprocessing = dataclasses.replace(spec.preprocessing, height=SIDE, width=SIDE, resize=SIDE)
    widen = 0.125 if name == "vgg" else spec.widen  # its 512 channels take their time
    return dataclasses.replace(spec, classes=10, preprocessing=preprocessing, widen=widen)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def calibrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """From a weight file that says how large its images are."""
    case: Case = request.param
    folder, spec = tmp_path_factory.mktemp("small"), small_spec(case.name)
    network = build_random(spec, torch.from_numpy(probe_images(spec, 8)), seed=0)
    write_weights(network, spec, folder / "weights.safetensors")
    options = ExportOptions(
        model=spec.name, out=folder / "bundle", weights=folder / "weights.safetensors", features=True, feature_maps=True
    )
    bundle = export_bundle(options, Silent())
    calibrate_bundle(
        bundle, CalibrateOptions(data="digits", size=16, quantization=Quantization(rounding=Rounding.NEAREST)), Silent()
    )
    return Calibrated(case, Bundle.open(bundle.folder))


@pytest.fixture(scope="module")
def digits(calibrated: Calibrated) -> npt.NDArray[np.uint8]:
    return next(iter(Batches(open_data("digits", Role.TEST), calibrated.bundle.spec.preprocessing, 4))).images


def _cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


def test_both_graphs_compute_what_the_network_does(calibrated: Calibrated) -> None:
    assert calibrated.bundle.spec.input.shape == (3, SIDE, SIDE)
    for precision, least in ((Precision.FP32, 0.999999), (Precision.FP16, 0.9995)):
        facts = calibrated.bundle.artifacts[f"onnx-{precision}"].facts
        assert min(record["cosine"] for record in facts["parity"]) >= least
        checked = {record["output"] for record in facts["interface"]}
        assert checked == {"logits", "features", *calibrated.case.maps}


def test_each_resolution_has_a_feature_map(calibrated: Calibrated) -> None:
    assert {tensor.name: tensor.shape for tensor in calibrated.bundle.spec.feature_maps} == calibrated.case.maps


def test_a_network_gives_the_features_and_maps_that_its_bundle_gives(
    calibrated: Calibrated, digits: npt.NDArray[np.uint8]
) -> None:
    bundle = calibrated.bundle
    network = wrn_deploy.get_model(bundle.spec.name, bundle.file(bundle.artifacts["weights"]))
    with Runner.open(bundle.folder, precision="fp32", backend="onnxruntime") as runner:
        own, bundles = (
            (wrn_deploy.extract_feat(what, digits), *wrn_deploy.extract_feat(what, digits, maps=True))
            for what in (network, runner)
        )
    assert len(own) == 1 + len(calibrated.case.maps)
    for one, other in zip(own, bundles, strict=True):
        assert one.shape == other.shape
        assert _cosine(one, other) > 0.99999


def test_every_conv_is_in_int8_for_tensorrt_and_nothing_keeps_a_kernel_from_it(calibrated: Calibrated) -> None:
    report = lint_file(calibrated.file("onnx-int8-tensorrt"), None)
    assert (report.int8_convs, report.float_convs) == (calibrated.case.tensorrt, 0)
    assert {finding.rule.id for finding in report.findings} <= {"QDQ106"}, "sums that a BN reads too"


def test_the_convs_of_onnxruntime_are_in_int8_but_for_one_that_reads_images(calibrated: Calibrated) -> None:
    report = lint_file(calibrated.file("onnx-int8-onnxruntime"), None)
    assert (report.int8_convs, report.float_convs) == calibrated.case.onnxruntime
    assert {finding.rule.id for finding in report.findings} <= {"QDQ505", "QDQ111"}


def test_int8_feature_maps_are_in_the_networks_own_units(calibrated: Calibrated, digits: npt.NDArray[np.uint8]) -> None:
    """Equalisation has rescaled, and may have shifted, what they are made of."""
    with Runner.open(calibrated.bundle.folder, precision=Precision.FP32, backend="torch") as runner:
        wanted = runner.run(digits)
    with Runner.open(calibrated.bundle.folder, precision=Precision.INT8, backend="onnxruntime") as runner:
        found = runner.run(digits)
        images = runner.bundle.spec.preprocessing
    graph = infer_all(open_session(calibrated.file("onnx-int8-tensorrt"), threads=1, fuses_qdq=False))
    for given in (found, graph(normalize(digits, images))):
        for name, shape in calibrated.case.maps.items():
            assert given[name].shape == (len(digits), *shape)
            if given is found and not HAS_VNNI:
                continue  # random weights are large, and saturate ONNX Runtime's kernels for such CPUs
            assert _cosine(wanted[name], given[name]) > calibrated.case.least, name


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
def test_the_plan_has_the_convs_in_int8_and_gives_the_maps(calibrated: Calibrated) -> None:
    options = BuildOptions(
        precision=Precision.INT8, engine=EngineOptions(profiles=(Profile(1, 2, 4),)), flavor=Flavor.RTX
    )
    facts = build_engine(calibrated.bundle, options, Silent()).facts
    proof = facts["precision"]
    assert (proof["higher_precision"], proof["unknown"], proof["reformats"]) == ([], [], 0)
    assert proof["shares"]["int8"] > 0.99
    assert [output["name"] for output in facts["outputs"]] == ["logits", "features", *calibrated.case.maps]
