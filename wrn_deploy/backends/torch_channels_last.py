"""PyTorch eager on a CPU, channels last in memory; how it is run is in `torch`."""

from __future__ import annotations

from wrn_deploy.backends.pytorch.backend import TorchRuntime
from wrn_deploy.spec import Precision

__all__ = ["RUNTIME"]

RUNTIME = TorchRuntime(
    title="PyTorch CPU channels-last", precisions=(Precision.FP32, Precision.BF16), channels_last=True, peer=True
)
