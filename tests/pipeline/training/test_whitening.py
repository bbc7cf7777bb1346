"""Whitening the whole way: fitted by training, in every graph and plan, applied by the runner without knowing it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors import safe_open

from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import UsageError
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.models.checkpoints.weights import write_weights
from wrn_deploy.models.random_init import build_random
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.training.spec import fit_network
from wrn_deploy.pipeline.training.train import LOG, STATE, WEIGHTS, TrainOptions, train_model
from wrn_deploy.progress import Silent
from wrn_deploy.spec import ModelSpec, Precision, Preprocessing, Whitening
from wrn_deploy.training.recipe import TrainRecipe

SIDE = 16


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, ModelSpec, Path]:
    """A network with whitening fitted on digits, and its weights; small images, so that the matrix is small."""
    preprocessing = Preprocessing(height=SIDE, width=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=SIDE)
    spec = dataclasses.replace(describe_model("wrn-10-1"), preprocessing=preprocessing, whitening=Whitening(500))
    digits = open_data("digits", Role.TRAIN)
    images = next(iter(Batches(digits, preprocessing, 64))).images
    made = build_random(
        dataclasses.replace(spec, whitening=None), torch.from_numpy(normalize(images, preprocessing)), seed=0
    )
    whitened = build_model(spec).eval()
    whitened.load_state_dict(made.state_dict(), strict=False)
    folder = tmp_path_factory.mktemp("whitened")
    options = TrainOptions(model=spec.name, data="digits", out=folder, recipe=TrainRecipe(), workers=1)
    fit_network(whitened, spec, digits, options, Silent())
    file = folder / WEIGHTS
    write_weights(whitened, spec, file)
    return whitened, spec, file


@pytest.fixture(scope="module")
def calibrated(network: tuple[torch.nn.Module, ModelSpec, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle, from pixels on, with every graph that the CPU can make."""
    folder = tmp_path_factory.mktemp("whitened") / "bundle"
    options = ExportOptions(model="wrn-10-1", out=folder, weights=network[2], bf16=True, pixels=True)
    bundle = export_bundle(options, Silent())
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=32), Silent())
    return Bundle.open(folder)


def _graph(bundle: Bundle, key: str) -> ir.Graph:
    return ir.load(bundle.file(bundle.artifacts[key])).graph


def test_the_bundle_says_that_it_whitens(calibrated: Bundle) -> None:
    assert calibrated.spec.whitening == Whitening(500)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_contrast_is_computed_in_fp32_and_the_product_in_half(calibrated: Bundle, precision: Precision) -> None:
    nodes = {node.name: node for node in _graph(calibrated, f"onnx-{precision}")}
    half = ir.DataType.FLOAT16 if precision is Precision.FP16 else ir.DataType.BFLOAT16
    contrast = nodes["whitening.product"].inputs[0]
    assert contrast is not None
    cast = contrast.producer()
    assert cast is not None
    assert cast.op_type == "Cast"
    assert cast.inputs[0] is not None
    assert (cast.inputs[0].dtype, contrast.dtype) == (ir.DataType.FLOAT, half)
    assert nodes["whitening"].outputs[0].dtype == half
    assert calibrated.artifacts[f"onnx-{precision}"].facts["parity"], "the gate compared it with PyTorch"


@pytest.mark.parametrize(
    ("backend", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("torch", "fp32")]
)
def test_the_runner_applies_it_without_knowing(
    calibrated: Bundle, network: tuple[torch.nn.Module, ModelSpec, Path], backend: str, precision: str
) -> None:
    spec = network[1]
    images = next(iter(Batches(open_data("digits", Role.TEST), spec.preprocessing, 24))).images
    with torch.inference_mode():
        wanted = network[0](torch.from_numpy(normalize(images, spec.preprocessing))).numpy()
    with Runner.open(calibrated.folder, precision=precision, backend=backend) as runner:
        found = runner.predict(images)
    cosines = (wanted * found).sum(1) / (np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1))
    assert cosines.min() > (0.97 if precision == "int8" else 0.99999)


def test_every_conv_is_in_int8_for_tensorrt(calibrated: Bundle) -> None:
    report = lint_file(calibrated.file(calibrated.artifacts["onnx-int8-tensorrt"]), None)
    assert (report.int8_convs, report.float_convs) == (9, 0)
    assert {finding.rule.id for finding in report.findings} <= {"QDQ106"}, "sums that a BN reads too"


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_plans_are_built_and_proved(calibrated: Bundle, precision: Precision) -> None:
    options = BuildOptions(precision=precision, engine=EngineOptions(profiles=(Profile(1, 2, 4),)), flavor=Flavor.RTX)
    proof = build_engine(calibrated, options, Silent()).facts["precision"]
    assert (proof["higher_precision"], proof["unknown"]) == ([], [])
    assert set(proof["shares"]) == ({"fp16"} if precision is Precision.FP16 else {"fp16", "int8"})


def test_training_fits_it_stores_it_and_goes_on_with_it(tmp_path: Path) -> None:
    items = list(open_data("digits", Role.TRAIN).items())[:40]
    data = tmp_path / "digits.npz"
    np.savez(data, images=np.stack([item.load() for item in items]), labels=np.array([item.label for item in items]))
    options = TrainOptions(
        model="wrn-10-1", data=str(data), out=tmp_path / "run", recipe=TrainRecipe(epochs=1, batch_size=20), whiten=True
    )
    train_model(options, Silent())
    fitted = _read(tmp_path / "run" / WEIGHTS)
    images = np.stack([item.load() for item in items])
    vectors = images.transpose(0, 3, 1, 2).reshape(40, -1) / 255.0
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    vectors = 55.0 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert fitted["whitening.mean"] == pytest.approx(vectors.mean(axis=0), abs=1e-4)
    state = _read(tmp_path / "run" / STATE)
    for name in ("whitening.mean", "whitening.matrix"):
        assert np.array_equal(state[f"network.{name}"], fitted[name])
    with safe_open(tmp_path / "run" / WEIGHTS, framework="np") as opened:
        spec = ModelSpec.from_json(json.loads(opened.metadata()["wrn_deploy"]))
    assert (spec.whitening, spec.preprocessing.mean) == (Whitening(40), (0.0, 0.0, 0.0))
    again = train_model(dataclasses.replace(options, resume=True), Silent())
    assert again.epochs == 1
    assert all(np.array_equal(value, fitted[name]) for name, value in _read(tmp_path / "run" / WEIGHTS).items())
    assert len((tmp_path / "run" / LOG).read_text(encoding="utf-8").splitlines()) == 1


def test_a_mean_besides_is_refused(tmp_path: Path) -> None:
    changes = Overrides(mean=(0.5, 0.5, 0.5))
    options = TrainOptions(
        model="wrn-10-1",
        data="digits",
        out=tmp_path / "run",
        recipe=TrainRecipe(epochs=1),
        overrides=changes,
        whiten=True,
    )
    with pytest.raises(UsageError, match="--whiten with a mean or a deviation"):
        train_model(options, Silent())
    assert not (tmp_path / "run").exists()


def _read(file: Path) -> dict[str, np.ndarray]:
    with safe_open(file, framework="np") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
