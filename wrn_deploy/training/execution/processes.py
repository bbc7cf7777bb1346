"""The processes that train together, one or several that accelerate connects, and which part of a batch each takes."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.process.children import follow_parent

__all__ = ["BatchShard", "Distributed", "ProcessGroup", "Single", "find_processes", "lost_is_named"]

LIBRARIES = ("gloo", "NCCL")  # in the texts of their errors
LAUNCHED = "TORCHELASTIC_RUN_ID"  # set by torchrun and `accelerate launch`, which do not end their processes if killed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShard:
    """Process `rank` of `size`, counted from 0. Its parts of a batch are contiguous and differ by one image at most."""

    rank: int = 0
    size: int = 1

    def of(self, count: int) -> slice:
        """The slice of a batch of `count` images that belongs to this process."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)


class Single:
    """One process, which does nothing of what `Distributed` does."""

    shard = BatchShard()

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients, after a backward pass, are the mean over all processes: itself."""
        return network

    def no_sync(self, network: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Within it, a backward pass of what `wrap` returned keeps this process's own gradients."""
        del network
        return contextlib.nullcontext()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in each of them: the values themselves."""
        return values

    def close(self) -> None:
        """Waits for the other processes and closes the group, at the end of a run: returns at once."""


class Distributed:
    """Several processes, started by torchrun or `accelerate launch`: DDP, over gloo on CPUs and NCCL on GPUs."""

    def __init__(self, *, on_cpu: bool) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs
        except ImportError as error:
            raise missing_package("accelerate", "multi-gpu", "training in several processes") from error
        # `network.py` keeps BN's statistics equal, so that DDP need not broadcast the first process's.
        options = DistributedDataParallelKwargs(broadcast_buffers=False)
        self._accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[options])
        self.shard = BatchShard(rank=self._accelerator.process_index, size=self._accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return cast("torch.device", self._accelerator.device)

    def wrap(self, network: nn.Module) -> nn.Module:
        """DistributedDataParallel around the network."""
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch's, on how accelerate calls it
            return cast("nn.Module", self._accelerator.prepare_model(network))

    @contextlib.contextmanager
    def no_sync(self, network: nn.Module) -> Iterator[None]:
        """DDP does not exchange gradients."""
        with self._accelerator.no_sync(network):
            yield

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce."""
        return cast("torch.Tensor", self._accelerator.reduce(values, "sum"))

    def close(self) -> None:
        """A barrier; then the process group is closed."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()


ProcessGroup = Single | Distributed


def find_processes(environment: Any = os.environ, *, on_cpu: bool) -> ProcessGroup:
    """Several processes if a launcher set WORLD_SIZE above 1, else one; they end with their launcher.

    Raises:
        UsageError: WORLD_SIZE is not a number.
        MachineError: accelerate is not installed.
    """
    text = environment.get("WORLD_SIZE", "1")
    if not text.isdecimal():
        raise UsageError(f"WORLD_SIZE {text!r} in the environment: expected a number of processes, as torchrun sets")
    if LAUNCHED in environment:
        follow_parent()
    return Distributed(on_cpu=on_cpu) if int(text) > 1 else Single()


@contextlib.contextmanager
def lost_is_named(processes: ProcessGroup) -> Iterator[None]:
    """Within it, a lost connection to another process becomes a DeployError, which says what to do."""
    try:
        yield
    except RuntimeError as error:
        if processes.shard.size == 1 or not any(library in str(error) for library in LIBRARIES):
            raise
        reason = str(error).partition(". ")[0][:200]
        raise DeployError(
            f"the connection to another of the {processes.shard.size} processes was lost ({reason}): expected all of "
            "them to run to the end; see what the others printed, then start all again, `train` with --resume"
        ) from error
