"""The three graphs: the shared trained one, a WRN with longer groups, and a post-activation bottleneck network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch

from wrn_deploy.bundle import Bundle
from wrn_deploy.export.graph import export_graph
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.random_init import build_random
from wrn_deploy.pipeline.networks.export import probe_images


@pytest.fixture(scope="session")
def trained_graph(made_bundle: Path) -> ir.Model:
    """wrn-10-1 in fp32."""
    return ir.load(Bundle.open(made_bundle).folder / "fp32.onnx")


@pytest.fixture(scope="session")
def trained_half(made_bundle: Path) -> ir.Model:
    """wrn-10-1 in fp16."""
    return ir.load(Bundle.open(made_bundle).folder / "fp16.onnx")


@pytest.fixture(scope="session")
def longer_graph() -> ir.Model:
    """wrn-16-2, two blocks a group: the second one's skip is the identity."""
    spec = describe_model("wrn-16-2")
    return export_graph(build_random(spec, torch.from_numpy(probe_images(spec, 4)), seed=0), spec)


@pytest.fixture(scope="session")
def bottleneck_graph() -> ir.Model:
    """wrn-50-2, whose ReLU comes after the sum; 276 MB, and every BN is folded."""
    spec = describe_model("wrn-50-2")
    return export_graph(build_model(spec).eval(), spec)


@pytest.fixture(scope="session")
def digits() -> npt.NDArray[np.float32]:
    """Sixty-four digits, normalised; the network was not trained on them."""
    return probe_images(describe_model("wrn-10-1"), 64)
