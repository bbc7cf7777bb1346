"""Calibrated bundles that several tests read: a CIFAR network, and a small bottleneck network with a MaxPool."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.pipeline.networks.test_every_family import small_spec
from wrn_deploy.models.checkpoints.weights import write_weights
from wrn_deploy.models.random_init import build_random
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle, probe_images
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Silent


@pytest.fixture(scope="session")
def cifar_bundle(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wrn-16-2 with its published weights, calibrated on 96 exact CIFAR-10 train images."""
    folder = tmp_path_factory.mktemp("cifar") / "bundle"
    weights = shared_data / "checkpoints" / "wrn-16-2-cifar10.pth"
    bundle = export_bundle(ExportOptions(model="wrn-16-2", out=folder, weights=weights), Silent())
    data = shared_data / "cifar10" / "train-exact-8068.npz"
    calibrate_bundle(bundle, CalibrateOptions(data=str(data), size=96), Silent())
    return folder


@pytest.fixture(scope="session")
def bottleneck_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """resnet-26 on images of 32x32 with random weights, features and feature maps, calibrated on digits."""
    folder, spec = tmp_path_factory.mktemp("bottleneck"), small_spec("resnet-26")
    network = build_random(spec, torch.from_numpy(probe_images(spec, 8)), seed=0)
    write_weights(network, spec, folder / "weights.safetensors")
    options = ExportOptions(
        model=spec.name, out=folder / "bundle", weights=folder / "weights.safetensors", features=True, feature_maps=True
    )
    calibrate_bundle(export_bundle(options, Silent()), CalibrateOptions(data="digits", size=32), Silent())
    return folder / "bundle"
