"""PyTorch eager on a GPU; how it is run is in `_torch.py`."""

from __future__ import annotations

from wrn_deploy.backends._torch import TorchRuntime
from wrn_deploy.spec import Precision

__all__ = ["PEER", "PRECISIONS", "TITLE", "find_artifact", "open_backend", "unfit"]

TITLE = "PyTorch CUDA"
PEER = False

_RUNTIME = TorchRuntime(title=TITLE, precisions=(Precision.FP16, Precision.FP32, Precision.BF16), device="cuda")

PRECISIONS = _RUNTIME.precisions
find_artifact = _RUNTIME.find_artifact
unfit = _RUNTIME.unfit
open_backend = _RUNTIME.open_backend
