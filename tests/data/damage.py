"""Damages a file everywhere, a little at a time, and checks that reading it ends well or with an error of ours."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wrn_deploy.data import CorruptImage, Role, open_data, sources
from wrn_deploy.errors import DeployError

__all__ = ["errors_of_damage", "peak_of_reading"]


def errors_of_damage(path: Path, name: Path, *, truncate: bool, tries: int = 60) -> list[str]:
    """The texts of the errors that damage to the file gives; any other kind of error is raised."""
    content, random = path.read_bytes(), np.random.default_rng(0)
    found: list[str] = []
    for index in range(tries):
        damaged = bytearray(content)
        if truncate:
            damaged = damaged[: len(content) * index // tries]
        else:
            place = int(random.integers(min(len(content), 2048) if index % 2 else len(content)))
            damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            _read(name)
        except DeployError as error:
            found.append(str(error))
    path.write_bytes(content)
    return found


def _read(name: Path) -> None:
    for item in open_data(str(name), Role.TRAIN).items():
        try:
            item.load()
        except CorruptImage:
            continue


def peak_of_reading(name: Path, seed: int | None, limit_buffer: Callable[[object, str, int], None]) -> int:
    """The peak of the bytes that Python held while all images of a set were read."""
    limit_buffer(sources, "BUFFER_BYTES", 2**21)
    tracemalloc.start()
    try:
        source = open_data(str(name), Role.TRAIN)
        order = None if seed is None else np.random.default_rng(seed)
        assert sum(item.load().ndim == 3 for item in source.items(order)) == len(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
