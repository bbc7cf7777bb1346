"""Writes manifests as whoever can write all of a bundle would leave them: with a digest that fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wrn_deploy.manifest import MANIFEST, seal

__all__ = ["edit_manifest", "read_record", "write_record"]


def read_record(folder: Path) -> dict[str, Any]:
    """The manifest's description: model, random_weights, artifacts."""
    record: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return {key: value for key, value in record.items() if key not in ("format", "sha256")}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Replaces the manifest."""
    (folder / MANIFEST).write_bytes(seal(record))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the manifest's description in place."""
    record = read_record(folder)
    change(record)
    write_record(folder, record)
