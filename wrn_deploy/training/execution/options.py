"""How a training run is executed, whatever it learns: device, precision, memory; the standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.errors import UsageError

__all__ = ["Amp", "Device", "ExecutionOptions"]


class Device(StrEnum):
    """Where a network is trained."""

    CPU = "cpu"
    CUDA = "cuda"


class Amp(StrEnum):
    """The type of convolutions and matrix products in mixed precision; weights stay in fp32."""

    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """How a training run is executed.

    Args:
        device: None: the GPU if PyTorch sees one, else the CPU.
        amp: mixed precision; fp16 scales the loss. None: fp32 throughout.
        channels_last: store activations and weights in NHWC order.
        compiled: use torch.compile.
        checkpointing: compute the activations within a residual block again in the backward pass instead of keeping
            them.
        accumulate: run each batch through the network in N parts; BN sees each part by itself.
        sync_norms: with several processes, BN uses the statistics of the whole batch, not of each process's shard.
        deterministic: on a GPU, use deterministic kernels only; without it, a resumed run is not exact.
    """

    device: Device | None = None
    amp: Amp | None = None
    channels_last: bool = True
    compiled: bool = False
    checkpointing: bool = False
    accumulate: int = 1
    sync_norms: bool = True
    deterministic: bool = True

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise UsageError(f"--accumulate {self.accumulate}: expected at least 1")
        if self.compiled and self.checkpointing:
            raise UsageError(
                "--compile with --checkpointing: expected one; torch.compile decides itself what to compute again"
            )
