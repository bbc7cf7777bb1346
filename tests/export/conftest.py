"""Exported networks, made once: random weights that behave like trained ones, and those that read digits."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch
from torch import nn

from tests.models.fitting import fit_weights
from wrn_deploy.export.graph import export_graph
from wrn_deploy.models import build_model, describe_model
from wrn_deploy.models.checkpoints.weights import read_weights
from wrn_deploy.models.random_init import build_random
from wrn_deploy.pipeline.networks.export import probe_images
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import ModelSpec

Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """A network and its graph, which a test must not change (it clones it)."""

    spec: ModelSpec
    network: nn.Module
    graph: ir.Model

    def infer(self, images: Images) -> Images:
        """What PyTorch computes."""
        with torch.inference_mode():
            logits: Images = self.network(torch.from_numpy(images)).numpy()
        return logits


def run_graph(model: ir.Model, images: Images) -> Images:
    """What ONNX Runtime computes."""
    return infer_with(open_session(ir.to_proto(model).SerializeToString(), threads=1))(images)


def _small(spec: ModelSpec) -> ModelSpec:
    """An ImageNet network at 64x64: the same graph, and a tenth of the work."""
    how = spec.preprocessing
    return dataclasses.replace(
        spec, preprocessing=dataclasses.replace(how, height=min(how.height, 64), width=min(how.width, 64), resize=None)
    )


@pytest.fixture(scope="session")
def exported() -> Callable[[str], Exported]:
    @functools.cache
    def make(name: str) -> Exported:
        spec = _small(describe_model(name))
        network = build_random(spec, torch.from_numpy(probe_images(spec, 8)), 0)
        return Exported(spec, network, export_graph(network, spec))

    return make


@pytest.fixture(scope="session")
def reader(trained: Path) -> Exported:
    """The network that was trained on digits."""
    checkpoint = read_weights(trained / "weights.safetensors")
    assert checkpoint.spec is not None
    network = build_model(checkpoint.spec)
    fit_weights(network, checkpoint, checkpoint.spec)
    return Exported(checkpoint.spec, network.eval(), export_graph(network, checkpoint.spec))
