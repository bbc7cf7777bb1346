"""PyTorch on a CPU or a GPU: eager, channels last in memory, or compiled; `pytorch/` runs the network."""

from __future__ import annotations

from wrn_deploy.backends.pytorch.backend import TorchRuntime
from wrn_deploy.spec import Precision

__all__ = ["RUNTIMES"]

ON_CPU = (Precision.FP32, Precision.BF16)
ON_GPU = (Precision.FP16, Precision.FP32, Precision.BF16)

RUNTIMES = {
    "torch": TorchRuntime(title="PyTorch CPU", precisions=ON_CPU),
    "torch_channels_last": TorchRuntime(
        title="PyTorch CPU channels-last", precisions=ON_CPU, channels_last=True, comparison_only=True
    ),
    "torch_compile": TorchRuntime(title="PyTorch CPU compiled", precisions=ON_CPU, compiled=True, comparison_only=True),
    "torch_cuda": TorchRuntime(title="PyTorch CUDA", precisions=ON_GPU, device="cuda"),
    "torch_cuda_channels_last": TorchRuntime(
        title="PyTorch CUDA channels-last", precisions=ON_GPU, device="cuda", channels_last=True, comparison_only=True
    ),
    "torch_cuda_compile": TorchRuntime(
        title="PyTorch CUDA compiled", precisions=ON_GPU, device="cuda", channels_last=True, compiled=True,
        comparison_only=True,
    ),
    "torch_cuda_compile_graphs": TorchRuntime(
        title="PyTorch CUDA compiled, as graphs", precisions=ON_GPU, device="cuda", channels_last=True, compiled=True,
        graphs=True, comparison_only=True,
    ),
}  # fmt: skip
