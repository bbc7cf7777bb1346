"""Weights as safetensors, with the description of the network that this program adds, and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save

from wrn_deploy.models import describe_model
from wrn_deploy.models.checkpoints.weights import METADATA, read_weights

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """Three types of tensors, and an empty one."""
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.ones(3).half(),
        "c": torch.zeros(0, 4),
        "d": torch.ones(2, 2),
    }
    yield save(tensors)
    yield save(tensors, metadata={METADATA: json.dumps(describe_model("wrn-10-1").to_json()), "format": "pt"})


def read(path: Path) -> None:
    """Reads the tensors and the description."""
    checkpoint = read_weights(path)
    repr(checkpoint.tensors)
    repr(checkpoint.spec)
