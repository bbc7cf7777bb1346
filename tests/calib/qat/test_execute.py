"""PyTorch runs the graphs of this project as ONNX Runtime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch

from tests.calib.quantized import logits, quantized, with_biases
from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.errors import DeployError

Images = npt.NDArray[np.float32]


@pytest.fixture
def made(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> tuple[ir.Model, ir.Model]:
    return quantized(with_biases(trained_graph), digits, tmp_path)


def test_pytorch_computes_what_onnx_runtime_does(made: tuple[ir.Model, ir.Model], digits: Images) -> None:
    source, int8 = made
    for model, tolerance in ((source, 1e-4), (int8, 0.05)):
        got = TorchGraph(model).run(torch.from_numpy(digits)).detach().numpy()
        assert np.abs(got - logits(model, digits)).max() <= tolerance * np.abs(got).max()


def test_an_unknown_operator_is_refused(made: tuple[ir.Model, ir.Model]) -> None:
    model = made[0].clone()
    model.graph[0].op_type = "Einsum"
    with pytest.raises(DeployError, match="Einsum"):
        TorchGraph(model)
