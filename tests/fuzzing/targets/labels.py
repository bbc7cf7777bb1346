"""Lists of classes: a folder's labels.csv, class names as text and JSON, and ImageNet's ground truth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.fuzzing.sets import small_png
from wrn_deploy.data.containers.label_file import LABEL_FILE, read_label_file
from wrn_deploy.data.ground_truth import read_ground_truth
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.networks.labels import read_labels

__all__ = ["read", "seeds"]

OTHERS = ("x.json", "x.txt", "LOC_val_solution.csv", "val.txt", "imagenet_2012_validation_synset_labels.txt")


def seeds(_folder: Path) -> Iterator[bytes]:
    """One of each kind."""
    yield b"file,class\na.png,cat\n"
    yield b"file,class_index\na.png,3\n"
    yield b'\xef\xbb\xbffile,label\r\n"a.png","1"\r\n'
    yield b'["cat", "dog"]'
    yield b'{"0": ["n01440764", "tench"], "1": "dog"}'
    yield b"cat\ndog\n"
    yield b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n"
    yield b"ILSVRC2012_val_00000001.JPEG 0\n"
    yield b"n01440764\n"


def read(path: Path) -> None:
    """Reads it as each kind; raises the last of the errors if it is none of them."""
    folder = path.parent / "set"
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(small_png())
    shutil.copyfile(path, folder / LABEL_FILE)
    readers = [(read_label_file, folder)]
    errors: list[DeployError] = []
    for name in OTHERS:
        shutil.copyfile(path, folder / name)
    for reader, file in (
        *readers, *((read_labels, folder / name) for name in OTHERS[:2]),
        *((read_ground_truth, folder / name) for name in OTHERS[2:]),
    ):  # fmt: skip
        try:
            reader(file)
        except DeployError as error:
            errors.append(error)
    if len(errors) == 1 + len(OTHERS):
        raise errors[-1]
