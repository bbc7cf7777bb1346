"""The processes that train together: one alone, or several that Hugging Face's accelerate ties together."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any, Protocol, cast

import torch
from torch import nn

from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.training.execution.sharding import Share

__all__ = ["Alone", "Team", "Together", "find_team"]


class Team(Protocol):
    """What the loop needs of the other processes."""

    share: Share

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients, after a backward pass, are the mean over all processes."""

    def apart(self, network: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Within it, a backward pass leaves the gradients of what `wrap` gave to this process."""

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in each of them."""

    def end(self) -> None:
        """The run is over: waits for the others, and lets go of them."""


class Alone:
    """One process."""

    share = Share()

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network

    def apart(self, network: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Nothing changes."""
        del network
        return contextlib.nullcontext()

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The values themselves."""
        return values

    def end(self) -> None:
        """Nothing to wait for."""


class Together:
    """Several processes, started by torchrun or `accelerate launch`: DDP, over gloo on CPUs and NCCL on GPUs."""

    def __init__(self, *, on_cpu: bool) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs
        except ImportError as error:
            raise missing_package("accelerate", "multi-gpu", "training in several processes") from error
        # BN's statistics are kept equal here (see `norms.py`), so nobody else's are sent around.
        options = DistributedDataParallelKwargs(broadcast_buffers=False)
        self._accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[options])
        self.share = Share(self._accelerator.process_index, self._accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return cast("torch.device", self._accelerator.device)

    def wrap(self, network: nn.Module) -> nn.Module:
        """DistributedDataParallel around the network."""
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch's, on how accelerate calls it
            return cast("nn.Module", self._accelerator.prepare_model(network))

    @contextlib.contextmanager
    def apart(self, network: nn.Module) -> Iterator[None]:
        """DDP does not exchange gradients."""
        with self._accelerator.no_sync(network):
            yield

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduce."""
        return cast("torch.Tensor", self._accelerator.reduce(values, "sum"))

    def end(self) -> None:
        """A barrier; then the process group is closed."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()


def find_team(environment: Any = os.environ, *, on_cpu: bool) -> Team:
    """Several processes if a launcher says so (WORLD_SIZE above 1), else one.

    Raises:
        UsageError: WORLD_SIZE is no number.
        MachineError: accelerate is not installed.
    """
    text = environment.get("WORLD_SIZE", "1")
    if not text.isdecimal():
        raise UsageError(f"WORLD_SIZE {text!r} in the environment: expected a number of processes, as torchrun sets")
    return Together(on_cpu=on_cpu) if int(text) > 1 else Alone()
