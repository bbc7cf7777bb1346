"""The device and the processes of a run, and a network made ready for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from wrn_deploy.errors import MachineError
from wrn_deploy.machine import find_gpu, peak_rss_bytes
from wrn_deploy.training.execution.activation_checkpointing import checkpoint_blocks
from wrn_deploy.training.execution.batch_norm import with_whole_batch_norms
from wrn_deploy.training.execution.options import Amp, Device, Execution
from wrn_deploy.training.execution.processes import Alone, Team, Together, find_team

__all__ = ["Place", "open_place"]

DTYPES = {Amp.BF16: torch.bfloat16, Amp.FP16: torch.float16}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is carried out; `caution` is what its user should know."""

    device: torch.device
    execution: Execution
    team: Team
    caution: str | None = None

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network on the device, with its BN, memory and kernels as the execution says.

        Raises:
            UsageError: checkpointing of a network without residual blocks.
        """
        if self.team.share.size > 1 and self.execution.sync_norms:
            network = with_whole_batch_norms(network, self.device)
        network = network.to(self.device)
        if self.execution.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.execution.checkpointing:
            checkpoint_blocks(network)
        if self.execution.compiled:
            network.compile()
        return network

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision within it, if the execution has any."""
        if self.execution.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.execution.amp])

    def arrange(self, images: torch.Tensor) -> torch.Tensor:
        """Images in the memory order that the network has."""
        if self.execution.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images.contiguous()

    @contextlib.contextmanager
    def kernels(self) -> Iterator[None]:
        """Within it, cuDNN takes kernels that give the same bits each time, or tries which are fastest."""
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=not self.execution.deterministic, deterministic=self.execution.deterministic
        ):
            yield

    def start_peak(self) -> None:
        """Begins to look for the peak of memory anew, where that can be done (on a GPU)."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_bytes(self) -> int:
        """The GPU memory of tensors since `start_peak`; on a CPU the process's largest resident set so far."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return peak_rss_bytes()


def open_place(execution: Execution) -> Place:
    """Finds the device and the other processes.

    Raises:
        MachineError: the GPU that was asked for is not there, or mixed precision does not run on this device.
    """
    has_cuda = torch.cuda.is_available()
    if execution.device is Device.CUDA and not has_cuda:
        raise MachineError(f"--device cuda: {_no_cuda()}; leave it out to train on the CPU")
    wanted = execution.device or (Device.CUDA if has_cuda else Device.CPU)
    caution = None
    if execution.device is None and not has_cuda and find_gpu() is not None:
        caution = f"training on the CPU: {_no_cuda()} (--device cpu says that this is meant)"
    team = find_team(os.environ, on_cpu=wanted is Device.CPU)
    device = team.device if isinstance(team, Together) else torch.device(wanted.value)
    return Place(device, execution, team, caution)


def _no_cuda() -> str:
    gpu = find_gpu()
    if gpu is None:
        return "no CUDA GPU on this machine"
    return f"this PyTorch ({torch.__version__}) has no CUDA for the {gpu.name}"


def cpu_place(execution: Execution | None = None) -> Place:
    """One process on the CPU."""
    return Place(torch.device("cpu"), execution or Execution(Device.CPU), Alone())
