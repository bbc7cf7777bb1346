"""Manifests of bundles: as they are, and with a digest that fits, as whoever writes a bundle would leave them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.manifests import read_record
from tests.test_bundle import make
from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.text import parse_json
from wrn_deploy.manifest import Manifest, seal

__all__ = ["read", "seeds"]


def seeds(folder: Path) -> Iterator[bytes]:
    """The description of a bundle of three artifacts, without and with the digest."""
    bundle = make(folder / "bundle")
    yield json.dumps(read_record(bundle.folder)).encode()
    yield (bundle.folder / "manifest.json").read_bytes()


def read(path: Path) -> None:
    """Reads it both ways, and uses every artifact."""
    content = path.read_bytes()
    with contextlib.suppress(DamagedFile):
        Manifest.from_bytes(content, path)
    record = parse_json(content.decode("utf-8", "replace"), path)
    if not isinstance(record, dict):
        return
    manifest = Manifest.from_bytes(seal({key: record[key] for key in record if key not in ("format", "sha256")}), path)
    for artifact in manifest.artifacts.values():
        assert (path.parent / artifact.path).resolve().is_relative_to(path.parent.resolve())
    assert Manifest.from_bytes(manifest.to_bytes(), path) == manifest
    repr((manifest.model.outputs, manifest.model.label(0)))
