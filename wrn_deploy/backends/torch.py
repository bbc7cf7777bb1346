"""PyTorch eager on a CPU: what the other rows are compared with; how it is run is in `torch`."""

from __future__ import annotations

from wrn_deploy.backends.pytorch.backend import TorchRuntime
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = TorchRuntime(title="PyTorch CPU", precisions=(Precision.FP32, Precision.BF16))
