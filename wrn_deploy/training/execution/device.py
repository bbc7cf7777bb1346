"""The device and the processes of a training run, and a network prepared for them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import torch
from torch import nn

from wrn_deploy.errors import MachineError
from wrn_deploy.machine import find_gpu, peak_rss_bytes
from wrn_deploy.training.execution.network import checkpoint_blocks, with_whole_batch_norms
from wrn_deploy.training.execution.options import Amp, Device, ExecutionOptions
from wrn_deploy.training.execution.processes import Distributed, ProcessGroup, Single, find_processes

__all__ = ["TrainDevice", "open_device"]

DTYPES = {Amp.BF16: torch.bfloat16, Amp.FP16: torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainDevice:
    """The device and the processes of a run, and how it is executed; `warning` is for the user."""

    torch_device: torch.device
    execution: ExecutionOptions
    processes: ProcessGroup
    warning: str | None = None

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network on the device, with the BN, memory format and compilation that the options ask for.

        Raises:
            UsageError: checkpointing of a network without residual blocks.
        """
        if self.processes.shard.size > 1 and self.execution.sync_norms:
            network = with_whole_batch_norms(network, self.torch_device)
        network = network.to(self.torch_device)
        if self.execution.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.execution.checkpointing:
            checkpoint_blocks(network)
        if self.execution.compiled:
            network.compile()
        return network

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision within it, if the options ask for it."""
        if self.execution.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, DTYPES[self.execution.amp])

    def arrange(self, images: torch.Tensor) -> torch.Tensor:
        """Images in the memory format of the network."""
        order = torch.channels_last if self.execution.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=order)

    def kernels(self) -> contextlib.AbstractContextManager[None]:
        """Within it, cuDNN uses deterministic kernels, or searches for the fastest ones."""
        exact = self.execution.deterministic
        return torch.backends.cudnn.flags(enabled=True, benchmark=not exact, deterministic=exact)

    def start_peak(self) -> None:
        """Resets the peak of memory, on a GPU; a CPU cannot."""
        if self.torch_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.torch_device)

    def peak_bytes(self) -> int:
        """Peak GPU memory of tensors since `start_peak`; on a CPU, the process's peak resident set size."""
        if self.torch_device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.torch_device))
        return peak_rss_bytes()


def open_device(execution: ExecutionOptions) -> TrainDevice:
    """Finds the device and the other processes, as in `open_device(ExecutionOptions(device=Device.CPU))`.

    Raises:
        MachineError: there is no CUDA GPU and the options ask for one.
    """
    has_cuda = torch.cuda.is_available()
    if execution.device is Device.CUDA and not has_cuda:
        raise MachineError(f"--device cuda: {_no_cuda()}; leave it out to train on the CPU")
    wanted = execution.device or (Device.CUDA if has_cuda else Device.CPU)
    warning = None
    if execution.device is None and not has_cuda and find_gpu() is not None:
        warning = f"training on the CPU: {_no_cuda()} (pass --device cpu to train there without this warning)"
    processes = find_processes(os.environ, on_cpu=wanted is Device.CPU)
    found = processes.device if isinstance(processes, Distributed) else torch.device(wanted.value)
    return TrainDevice(torch_device=found, execution=execution, processes=processes, warning=warning)


def _no_cuda() -> str:
    gpu = find_gpu()
    if gpu is None:
        return "no CUDA GPU on this machine"
    return f"this PyTorch ({torch.__version__}) has no CUDA for the {gpu.name}"


def cpu_device(execution: ExecutionOptions | None = None) -> TrainDevice:
    """One process on the CPU."""
    return TrainDevice(
        torch_device=torch.device("cpu"), execution=execution or ExecutionOptions(device=Device.CPU), processes=Single()
    )
