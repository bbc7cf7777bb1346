"""Flips single bits of a bundle's files, and counts those that no reader notices: `python -m ... BUNDLE [COUNT]`."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.manifest import MANIFEST

__all__ = ["flip_bits"]


def flip_bits(folder: Path, count: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """File -> flips tried and accepted, on a copy of the bundle; half of them in the manifest, the rest by size.

    A flip is noticed if opening the bundle, or finding any of its artifacts, is refused.
    """
    dice, found = random.Random(seed), dict[str, dict[str, int]]()  # noqa: S311 (nothing secret)
    with tempfile.TemporaryDirectory() as made:
        copy = Path(shutil.copytree(folder, Path(made) / "bundle"))
        paths = [artifact.path for artifact in Bundle.open(copy).artifacts.values()]
        sizes = {path: (copy / path).stat().st_size for path in (MANIFEST, *paths)}
        for index in range(count):
            path = MANIFEST if index % 2 else dice.choice(paths)
            accepted = _accepted(copy, path, dice.randrange(sizes[path] * 8))
            entry = found.setdefault(path, {"flips": 0, "accepted": 0})
            entry["flips"] += 1
            entry["accepted"] += accepted
    return found


def _accepted(folder: Path, path: str, bit: int) -> bool:
    file = folder / path
    with file.open("r+b") as stream:
        stream.seek(bit // 8)
        whole = stream.read(1)
        stream.seek(bit // 8)
        stream.write(bytes([whole[0] ^ (1 << bit % 8)]))
    try:
        bundle = Bundle.open(folder)
        for key in bundle.artifacts:
            bundle.find(key)
    except DeployError:
        return False
    else:
        return True
    finally:
        with file.open("r+b") as stream:
            stream.seek(bit // 8)
            stream.write(whole)


if __name__ == "__main__":
    results = flip_bits(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5000)
    total = {name: sum(entry[name] for entry in results.values()) for name in ("flips", "accepted")}
    sys.stdout.write(json.dumps({"files": results, "total": total}, indent=1) + "\n")
