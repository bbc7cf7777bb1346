"""The C++ library gives the bytes of the Python Runner for networks that are used, at each precision and interface.

wrn-50-2 has random weights here, of a fixed seed. They are enough: both runners hand the same graph to the same ONNX
Runtime, so whether their bytes are equal depends on how images go in and outputs come out, and not on the weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.embed.conftest import Driver, compare_bytes
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Silent

pytestmark = pytest.mark.parametrize("library", ["native"], indirect=True, scope="session")

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)  # of CIFAR-10, as the published weights need


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Two bundles of a network, and images.

    Attributes:
        plain: takes normalised images and gives logits.
        wrapped: takes pixels and gives the top classes, their logits, the features and the feature maps.
        images: uint8, at the network's size.
    """

    plain: Path
    wrapped: Path
    images: npt.NDArray[np.uint8]


@pytest.fixture(scope="session", params=["wrn-16-2", "wrn-50-2"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp(request.param)
    data, more = "digits", dict[str, Any](random_weights=True, seed=17)
    if request.param == "wrn-16-2":
        shared: Path = request.getfixturevalue("shared_data")
        weights = shared / "checkpoints" / "wrn-16-2-cifar10.pth"
        more = {"weights": weights, "overrides": Overrides(mean=MEAN, std=STD)}
        data = str(shared / "cifar10" / "train-exact-8068.npz")
    for name, interface in (
        ("plain", dict[str, Any]()),
        ("wrapped", {"pixels": True, "top_k": 5, "features": True, "feature_maps": True}),
    ):
        options = ExportOptions(model=request.param, out=folder / name, **more, **interface)
        calibrate_bundle(export_bundle(options, Silent()), CalibrateOptions(data=data, size=8), Silent())
    preprocessing = Bundle.open(folder / "plain").spec.preprocessing
    images = next(iter(Batches(open_data(data, Role.TEST), preprocessing, 3))).images
    yield Network(plain=folder / "plain", wrapped=folder / "wrapped", images=images)
    shutil.rmtree(folder)  # over a gigabyte


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pixels_and_normalised_images(
    drive: Driver, network: Network, tmp_path: Path, precision: str, dtype: str
) -> None:
    images = network.images
    sent = images if dtype == "uint8" else normalize(images, Bundle.open(network.plain).spec.preprocessing)
    compare_bytes(drive, network.plain, precision, sent, len(sent), tmp_path)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pixels_in_the_graph_and_every_output(drive: Driver, network: Network, tmp_path: Path, precision: str) -> None:
    compare_bytes(drive, network.wrapped, precision, network.images, len(network.images), tmp_path)
