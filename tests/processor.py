"""What this machine's processor has; tests of integer arithmetic depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["HAS_VNNI", "SATURATES"]

_INFO = Path("/proc/cpuinfo")
_FLAGS = set(_INFO.read_text(encoding="utf-8").split()) if _INFO.exists() else set[str]()

# Without VNNI, ONNX Runtime's kernels on x86 add pairs of products in 16 bits and saturate: the order of the channels
# then changes answers.
HAS_VNNI = platform.machine() not in {"x86_64", "AMD64"} or bool({"avx512_vnni", "avx_vnni"} & _FLAGS)
SATURATES = "ONNX Runtime's integer kernels saturate on this CPU, which has no VNNI"
