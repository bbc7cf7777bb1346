"""The times that TensorRT's builder has measured, in a file of its own for each TensorRT, GPU and driver."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wrn_deploy.engines.flavor import Flavor, TensorRT
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.regular import open_regular
from wrn_deploy.machine import Gpu

__all__ = ["TimingCache", "choose_timing_cache", "default_file"]


@dataclass(slots=True, kw_only=True)
class TimingCache:
    """Measured times for one build: read before it, written after it.

    Attributes:
        file: where they are kept; other processes see the old file or the new one, never a part of one.
        ours: whether the file is the default one, which is replaced if TensorRT does not take it.
        started_from: the sha256 of the times that the builder started with; None: it measured everything itself.
        warnings: what a user should know, to be shown after the build.
    """

    file: Path
    ours: bool
    started_from: str | None = None
    warnings: list[str] = field(default_factory=list)
    _cache: Any = field(init=False, default=None)

    def attach(self, config: Any) -> None:
        """Gives the times to a builder configuration; keep this object until the plan is built.

        Raises:
            DeployError: the user's own file is not a timing cache of this TensorRT version and this GPU.
        """
        times = self._read()
        if times and not self._give(config, times):
            if not self.ours:
                raise DeployError(
                    f"{self.file} is not a timing cache of this TensorRT on this GPU: delete it, or choose another "
                    "--timing-cache"
                )
            self.warnings.append(
                f"{self.file} is damaged, or not a timing cache of this TensorRT on this GPU: everything was measured "
                "again"
            )
            times = b""
        if not times and not self._give(config, b""):
            raise DeployError("TensorRT cannot make a timing cache: pass --no-timing-cache")
        self.started_from = hashlib.sha256(times).hexdigest() if times else None

    def save(self) -> None:
        """Writes the times; a file that cannot be written is a warning, since the plan is built."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, bytes(self._cache.serialize()))
        except (OSError, DeployError) as error:
            self.warnings.append(f"the measured times cannot be saved ({error}): choose another --timing-cache")

    def _read(self) -> bytes:
        try:
            with open_regular(self.file) as stream:
                return stream.read()
        except FileNotFoundError:
            return b""
        except (OSError, DeployError) as error:
            if not self.ours:
                raise DeployError(f"{self.file} cannot be read ({error}): choose another --timing-cache") from error
            self.warnings.append(f"{self.file} cannot be read ({error}): everything was measured again")
            return b""

    def _give(self, config: Any, times: bytes) -> bool:
        self._cache = config.create_timing_cache(times)
        return self._cache is not None and bool(config.set_timing_cache(self._cache, ignore_mismatch=False))


def choose_timing_cache(trt: TensorRT, options: EngineOptions, gpu: Gpu | None) -> TimingCache | None:
    """The file that the options name, or the default one; None: no times are read or kept.

    TensorRT-RTX measures nothing ahead of time, and its timing cache does nothing.
    """
    if options.no_timing_cache or trt.flavor is Flavor.RTX:
        return None
    if options.timing_cache is not None:
        return TimingCache(file=options.timing_cache, ours=False)
    file = None if gpu is None else default_file(trt, gpu)
    return None if file is None else TimingCache(file=file, ours=True)


def default_file(trt: TensorRT, gpu: Gpu) -> Path | None:
    """The file for this TensorRT, GPU and driver in the user's cache folder; None: this user has none.

    TensorRT takes times of the same version and GPU alone; a driver may make kernels faster or slower. The folder is
    XDG_CACHE_HOME, or ~/.cache (freedesktop.org, "XDG Base Directory Specification").
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not folder.is_absolute():
        try:
            folder = Path.home() / ".cache"
        except RuntimeError:
            return None
    named = f"{trt.flavor} {trt.version} {gpu.name} {gpu.compute_capability} {gpu.driver}"
    return folder / "wrn-deploy" / "timing-caches" / f"{re.sub(r'[^A-Za-z0-9._]+', '-', named)}.cache"
