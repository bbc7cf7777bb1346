"""How a run is carried out, apart from what it is told to learn: device, precision, memory; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.errors import UsageError

__all__ = ["Amp", "Device", "Execution"]


class Device(StrEnum):
    """Where the arithmetic is done."""

    CPU = "cpu"
    CUDA = "cuda"


class Amp(StrEnum):
    """What convolutions and matrix products are computed in under mixed precision; weights stay in fp32."""

    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True)
class Execution:
    """How a run is carried out.

    Args:
        device: None: the GPU where PyTorch sees one, else the CPU.
        amp: mixed precision; fp16 scales the loss. None: fp32 throughout.
        channels_last: activations and weights in NHWC order in memory.
        compiled: with torch.compile.
        checkpointing: activations within a residual block are computed again in the backward pass, and not kept.
        accumulate: a batch goes through the network in so many parts; BN sees each part by itself.
        sync_norms: with several processes, BN has the statistics of the whole batch, not of a process's share.
        deterministic: on a GPU, only kernels that give the same bits each time; without, a resumed run is not exact.
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
                "--compile with --checkpointing: expected one of them; torch.compile decides what is computed again"
            )
