"""MATLAB's level 5 files: arrays, as SVHN has them, and structures, as in the devkit of ImageNet."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from tests.fuzzing.sets import read_set
from wrn_deploy.data.containers.mat_file import read_structures
from wrn_deploy.data.formats import svhn
from wrn_deploy.errors import DeployError

__all__ = ["PACKAGES", "read", "seeds"]

PACKAGES = ("scipy",)


def seeds(_folder: Path) -> Iterator[bytes]:
    """Two small images, plain and compressed."""
    from scipy.io import savemat

    pixels = np.arange(8 * 8 * 3 * 2, dtype=np.uint8).reshape(8, 8, 3, 2)
    for compressed in (False, True):
        stream = BytesIO()
        savemat(stream, {"X": pixels, "y": np.array([[1], [10]], np.uint8)}, do_compression=compressed)
        yield stream.getvalue()
        stream, rows = BytesIO(), np.zeros(2, [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")])
        rows["ILSVRC2012_ID"], rows["WNID"], rows["num_children"] = [1, 2], ["n01440764", "n01443537"], [0, 3]
        savemat(stream, {"synsets": rows}, do_compression=compressed)
        yield stream.getvalue()


def read(path: Path) -> None:
    """Reads the structures, or else decodes all images."""
    try:
        read_structures(path, "synsets")
    except DeployError:
        read_set(path, svhn)
