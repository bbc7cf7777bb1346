"""Reads the classes of ImageNet's validation images from any of the files that list them; numpy only."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wrn_deploy.data.containers.mat_file import read_structures
from wrn_deploy.data.imagenet_classes import ilsvrc_wnid
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.damage import DAMAGE
from wrn_deploy.files.text import read_text

__all__ = ["find_ground_truth", "read_ground_truth"]

UNREADABLE: tuple[type[Exception], ...] = (*DAMAGE, DamagedFile)
VALIDATION = "ILSVRC2012_val_{:08}.JPEG"  # counted from 1
DEVKIT, KAGGLE = "ILSVRC2012_validation_ground_truth.txt", "LOC_val_solution.csv"
CAFFE, TENSORFLOW = "val.txt", "imagenet_2012_validation_synset_labels.txt"
FOLDERS = (".", "ILSVRC2012_devkit_t12/data", "devkit/data", "data")
MOST = 16 * 2**20  # characters; the longest of these files, Kaggle's, has 2.4 million
UP = 4  # folders above the images': Kaggle's file is beside ILSVRC/, the images in ILSVRC/Data/CLS-LOC/val


def find_ground_truth(images: Path) -> Path | None:
    """Finds the first file of classes in the folder of the images, the folders above it, and their devkit folders."""
    above = itertools.islice([images, *images.resolve().parents], 1 + UP)
    folders = (parent / folder for parent in above for folder in FOLDERS)
    files = (folder / name for folder in folders for name in (DEVKIT, TENSORFLOW, KAGGLE, CAFFE))
    return next((file for file in files if file.is_file()), None)


def read_ground_truth(file: Path) -> dict[str, str]:
    """Reads the WordNet id of each image, by file name.

    The devkit has its own number for each class, which its `meta.mat` maps to an id; TensorFlow's file has an id per
    line, in the images' order; Kaggle's is a table; Caffe's has a file name and a class index per line.

    Raises:
        DeployError: the file is damaged, or its `meta.mat` is not beside it.
    """
    try:
        if file.name == DEVKIT:
            wnids = _read_meta(file.with_name("meta.mat"))
            return _by_number(wnids[int(line)] for line in _lines(file))
        if file.name == TENSORFLOW:
            return _by_number(_lines(file))
        if file.name == KAGGLE:
            rows = csv.DictReader(io.StringIO(_text(file), newline=""))
            return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}
        pairs = [line.split() for line in _lines(file)]
        return {Path(name).name: ilsvrc_wnid(int(index)) for name, index in pairs}
    except OverLimit:
        raise
    except UNREADABLE as error:
        raise DamagedFile(
            f"{file} cannot be read ({type(error).__name__}: {error}): expected the classes of ImageNet's validation "
            "images as its devkit, Kaggle, Caffe or TensorFlow have them; download it again"
        ) from error


def _text(file: Path) -> str:
    text = read_text(file)
    if len(text) > MOST:
        raise ValueError(f"{len(text):,} characters, more than {MOST:,}")
    return text


def _by_number(wnids: Iterator[str]) -> dict[str, str]:
    return {VALIDATION.format(number): wnid for number, wnid in enumerate(wnids, 1)}


def _lines(file: Path) -> Iterator[str]:
    return (line.strip() for line in _text(file).splitlines() if line.strip())


def _read_meta(file: Path) -> dict[int, str]:
    """Maps the devkit's numbers to WordNet ids, for the 1,000 classes without subclasses."""
    if not file.is_file():
        raise DeployError(f"{file} is missing: expected it next to {DEVKIT}, whose numbers it maps to classes")
    wnids = dict[int, str]()
    for row in read_structures(file, "synsets"):
        number, wnid, children = (row.get(field) for field in ("ILSVRC2012_ID", "WNID", "num_children"))
        if not isinstance(number, np.ndarray) or not isinstance(wnid, str) or not isinstance(children, np.ndarray):
            raise DamagedFile(
                f"{file} has the fields {', '.join(row)}: expected the numbers ILSVRC2012_ID and num_children and the "
                "text WNID; download it again"
            )
        if not children.any():
            wnids[int(number.item())] = wnid
    return wnids
