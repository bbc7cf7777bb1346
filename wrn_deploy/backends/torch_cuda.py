"""PyTorch eager on a GPU; how it is run is in `torch`."""

from __future__ import annotations

from wrn_deploy.backends.pytorch.backend import TorchRuntime
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = TorchRuntime(title="PyTorch CUDA", precisions=(Precision.FP16, Precision.FP32, Precision.BF16), device="cuda")
