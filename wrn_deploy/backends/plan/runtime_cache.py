"""What TensorRT-RTX compiles for a plan on a GPU, kept in the user's cache folder for the next process."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DeployError
from wrn_deploy.files.cache_folder import cache_folder
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.regular import open_regular
from wrn_deploy.formatting import printable
from wrn_deploy.machine import Gpu

__all__ = ["RuntimeCache", "cache_file"]


def cache_file(sha256: str, gpu: Gpu | None) -> Path | None:
    """The file for a plan with this digest on this GPU and driver; None: there is no GPU, or no cache folder.

    It is not in the bundle: what reads a bundle changes nothing in it.
    """
    folder = cache_folder("runtime-caches")
    if gpu is None or folder is None:
        return None
    machine = re.sub(r"[^A-Za-z0-9._]+", "-", f"{gpu.name} {gpu.compute_capability} {gpu.driver}")
    return folder / f"{sha256[:32]}-{machine}.cache"


class RuntimeCache:
    """Compiled kernels that the execution contexts of an engine share. Its methods need the GPU's context current.

    TensorRT-RTX checks what it reads: another GPU, version, or older driver, or damage, is an empty cache.

    Args:
        file: where they are kept; None: nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._cache: Any = None
        self._read = b""

    def attach(self, config: Any) -> None:
        """Makes contexts of this IRuntimeConfig use the kernels."""
        if self._file is not None and hasattr(config, "create_runtime_cache"):
            if self._cache is None:
                self._cache = config.create_runtime_cache()
                self._read = _content(self._file)
                if self._read and not self._cache.deserialize(self._read):
                    self._read = b""
            config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Writes the file if kernels were compiled since it was read; a failure is a warning."""
        if self._file is not None and hasattr(self._cache, "serialize"):
            serialized = self._cache.serialize()
            if serialized is not None:  # else the GPU has failed
                self._write(self._file, bytes(serialized))

    def _write(self, file: Path, content: bytes) -> None:
        if content == self._read:
            return
        self._read = content
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(file, content)
        except (OSError, DeployError) as error:
            text = f"compiled kernels cannot be saved, so the next start will be slow too ({error}): set XDG_CACHE_HOME"
            warnings.warn(printable(text), RuntimeWarning, stacklevel=2)


def _content(file: Path) -> bytes:
    """The file's bytes; empty if it cannot be read."""
    try:
        with open_regular(file) as stream:
            return stream.read()
    except (OSError, DeployError):
        return b""
