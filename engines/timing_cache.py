"""Full TensorRT's timing cache: a file of measured times that spares measuring them again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DeployError

__all__ = ["load_timing_cache", "save_timing_cache"]


def load_timing_cache(config: Any, file: Path) -> Any:
    """Gives the file's times, or none where it is not there, to a builder configuration.

    Returns:
        The cache; the caller keeps it until the plan is built.

    Raises:
        DeployError: it is none of this version's and this GPU's.
    """
    cache = config.create_timing_cache(file.read_bytes() if file.exists() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise DeployError(
            f"{file} is no timing cache of this TensorRT on this GPU: delete it, or name another --timing-cache"
        )
    return cache


def save_timing_cache(cache: Any, file: Path) -> None:
    """Writes what the builder knows now; other processes see the old file or the new one, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        written.write_bytes(bytes(cache.serialize()))
        written.replace(file)
    finally:
        written.unlink(missing_ok=True)
