"""State dicts, as `torch.save` writes them: in both formats, and with other objects beside tensors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wrn_deploy.models.checkpoints.weights import read_weights

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """A bare one and one in a wrapper, in both formats."""
    base = torch.arange(24, dtype=torch.float32)
    state = {"conv.weight": base.reshape(2, 3, 2, 2), "conv.bias": base[:2], "bn.num_batches_tracked": torch.tensor(3)}
    wrapped = {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)}
    contents: list[dict[str, Any]] = [state, wrapped, {"half": base.half(), "bf16": base.bfloat16()}]
    for content in contents:
        for zipped in (True, False):
            stream = BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=zipped)
            yield stream.getvalue()


def read(path: Path) -> None:
    """Reads the state dicts, and looks at every value."""
    for state in read_weights(path).states.values():
        for tensor in state.values():
            if tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized:
                bool((tensor.double() == 0).all())
