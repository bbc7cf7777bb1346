"""What GPUs reach at best, by name: dense arithmetic and memory bandwidth, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["H200", "KNOWN", "Limits", "find_limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Operations per second (two per multiply-accumulate), without sparsity, and bytes per second; with the source."""

    name: str
    fp16_ops: float
    int8_ops: float
    bytes_per_s: float
    source: str


def _datasheet(name: str, fp16_tera: float, int8_tera: float, bandwidth_giga: float, source: str) -> Limits:
    return Limits(name, fp16_tera * 1e12, int8_tera * 1e12, bandwidth_giga * 1e9, f"peaks of {source}")


# bf16 matrix products and memory were measured on one; int8 is scaled from them. Its datasheet: 989, 1979, 4800.
H200 = Limits("NVIDIA H200", 790e12, 1580e12, 4.3e12, "measured on one, 80 % of the peaks of NVIDIA's H200 datasheet")

# NVIDIA's data centre datasheets give numbers with sparsity, of which these are the half. A GeForce card multiplies
# fp16 at twice this speed if it also adds in fp16, which TensorRT does not promise: here it adds in fp32.
KNOWN = (
    H200,
    _datasheet("NVIDIA H100 80GB HBM3", 989, 1979, 3350, "NVIDIA's H100 datasheet, SXM"),
    _datasheet("NVIDIA H100 PCIe", 756, 1513, 2000, "NVIDIA's H100 datasheet, PCIe"),
    _datasheet("NVIDIA A100-SXM4-80GB", 312, 624, 2039, "NVIDIA's A100 datasheet, 80 GB SXM"),
    _datasheet("NVIDIA A100 80GB PCIe", 312, 624, 1935, "NVIDIA's A100 datasheet, 80 GB PCIe"),
    _datasheet("NVIDIA A100-SXM4-40GB", 312, 624, 1555, "NVIDIA's A100 datasheet, 40 GB"),
    _datasheet("NVIDIA A100-PCIE-40GB", 312, 624, 1555, "NVIDIA's A100 datasheet, 40 GB"),
    _datasheet("NVIDIA L40S", 362, 733, 864, "NVIDIA's L40S datasheet"),
    _datasheet("NVIDIA L4", 121, 242, 300, "NVIDIA's L4 datasheet"),
    _datasheet("NVIDIA GeForce RTX 4090", 165.2, 660.6, 1008, "NVIDIA's whitepaper on the Ada architecture"),
)


def find_limits(gpu: str) -> Limits | None:
    """The limits of a GPU as `nvidia-smi` names it; None: not known."""
    return next((limits for limits in KNOWN if limits.name == gpu), None)
