"""Calibrated bundles that several tests read: a CIFAR network, and a small bottleneck network with a MaxPool."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.pipeline.networks.test_every_family import small_spec
from wrn_deploy.models.checkpoints.weights import write_weights
from wrn_deploy.models.families.resnet import BLOCKS
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
    """resnet-50 with one block a group, random weights, features and feature maps, calibrated on digits of 32x32."""
    folder, spec = tmp_path_factory.mktemp("bottleneck"), small_spec("resnet-50")
    weights = folder / "weights.safetensors"
    options = ExportOptions(model=spec.name, out=folder / "bundle", weights=weights, features=True, feature_maps=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCKS, 50, (1, 1, 1, 1))
        network = build_random(spec, torch.from_numpy(probe_images(spec, 8)), seed=0)
        write_weights(network, spec, weights)
        bundle = export_bundle(options, Silent())
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=32), Silent())
    return bundle.folder
