"""PyTorch to fp32 ONNX: dynamic batch, BN folded where it can be, clean names and metadata."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch
from torch import nn

from wrn_deploy.errors import DeployError
from wrn_deploy.export.tidy import tidy
from wrn_deploy.spec import ModelSpec

__all__ = ["OPSET", "export_graph"]

# The newest opset that TensorRT 10.12 parses in full; Q/DQ with fp16 scales need 19.
OPSET = 20


def export_graph(network: nn.Module, spec: ModelSpec) -> ir.Model:
    """Exports the network in inference mode; the network itself is left as it is.

    The exporter folds each BN that directly follows a Conv into it; what it made is checked by `check.py`, since it has
    written wrong graphs before (pytorch #169178, #166797, #157621).

    Returns:
        A graph images (batch, 3, H, W) float32 -> logits (batch, classes) float32.
    """
    network, spec = copy.deepcopy(network).cpu().eval(), spec.core
    images = torch.zeros(2, *spec.input.shape)  # two: with one, the exporter takes the batch for a constant
    with _quiet():
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[spec.input.name],
            output_names=[spec.output.name],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise DeployError(
            f"torch.onnx.export returned nothing for {spec.name}: expected a graph; check the torch version"
        )
    return tidy(program.model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notes on absent torchvision operators and its own deprecations off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
