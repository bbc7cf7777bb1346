"""The trained network that comes with the package, shards of real digits, and their scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shards.made import example_bundle, options_for, pack_shards
from wrn_deploy.bundle import Bundle
from wrn_deploy.pipeline.scoring.score import score_data
from wrn_deploy.progress import Silent


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """wrn-10-1 on digits, for ONNX Runtime; no test changes it."""
    return example_bundle(tmp_path_factory.mktemp("scoring") / "bundle")


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards of 20 digits."""
    return pack_shards(tmp_path_factory.mktemp("scoring") / "shards", 4, 20)


@pytest.fixture(scope="session")
def scored(bundle: Bundle, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts of an unbroken run."""
    out = tmp_path_factory.mktemp("scoring") / "scored"
    score_data(bundle, options_for(shards, out), Silent())
    return out
