"""Images and fp32 graphs for the guards: a healthy network, and the same one with each kind of damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.calib.collapse import LOUD, NEAR_DEAD, Damage, write_collapsed
from tests.calib.guarded import images_of
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.progress import Silent

Digits = Callable[[int], npt.NDArray[np.float32]]
Graphs = dict[str, Path]


@pytest.fixture(scope="session")
def digits(made_bundle: Path) -> Digits:
    """The first training images, `count` of them."""
    return lambda count: images_of(made_bundle, "digits", count)


@pytest.fixture(scope="session")
def graphs(trained: Path, made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fp32 graphs of the trained network: unchanged, and with each kind of damage."""
    folder = tmp_path_factory.mktemp("collapsed")

    def damaged(name: str, damage: Damage) -> Path:
        weights = write_collapsed("wrn-10-1", trained / "weights.safetensors", damage, folder / f"{name}.safetensors")
        return (
            export_bundle(ExportOptions(model="wrn-10-1", out=folder / name, weights=weights), Silent()).folder
            / "fp32.onnx"
        )

    return {
        "healthy": made_bundle / "fp32.onnx",
        "loud": damaged("loud", LOUD),
        "near-dead": damaged("near-dead", NEAR_DEAD),
    }
