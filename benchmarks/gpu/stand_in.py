"""Recognises a stand-in for the CUDA driver, so that nobody takes its numbers for a GPU's."""

from __future__ import annotations

import ctypes
from pathlib import Path

__all__ = ["STAND_IN", "is_stand_in"]

STAND_IN = "stand-in driver: not a GPU"
COUNTER = "standin_counts"  # a function that only the stand-in has
# Device files of a real driver: Linux, WSL, Jetson.
DEVICES = ("nvidiactl", "dxg", "nvhost-gpu", "nvgpu", "nvmap")


def is_stand_in() -> bool:
    """Whether the CUDA driver of this machine is no driver of a GPU; call it only if `find_gpu` finds one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return not _has_device()
    return hasattr(driver, COUNTER) or not _has_device()


def _has_device() -> bool:
    return any(Path("/dev", name).exists() for name in DEVICES)
