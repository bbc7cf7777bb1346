"""ImageNet (ILSVRC 2012) as it is unpacked: class folders named by WordNet id, and validation images in one folder."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

from wrn_deploy.data import ImageSource, Role
from wrn_deploy.data.containers.label_file import read_label_file
from wrn_deploy.data.containers.listing import NO_CLASSES, list_images, subfolders
from wrn_deploy.data.formats import folder
from wrn_deploy.data.ground_truth import find_ground_truth, read_ground_truth
from wrn_deploy.data.imagenet_classes import CLASSES, class_names, ilsvrc_wnid
from wrn_deploy.data.splits import ROLE_WORDS, SPLIT_WORDS
from wrn_deploy.errors import DeployError

__all__ = ["open_source", "recognise"]

WNID = re.compile(r"n\d{8}")
INSPECTED = 5  # files of a folder with tens of thousands


def recognise(path: Path) -> bool:
    """Recognises class folders named by WordNet ids, also in `train` and `val`, and a folder of validation images."""
    return path.is_dir() and any(_holds_wnids(place) or _is_flat(place) for place in (path, *_splits(path)))


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens the split of the role, or the folder itself if it has no `train` and `val`.

    The classes are the sorted ids, under their names in WordNet. Validation images in one folder get their classes
    from a file beside or above them, see `ground_truth`; a `labels.csv` comes first.

    Raises:
        DeployError: the split or the file of classes is missing, or it does not list all images.
    """
    root = Path(name)
    flat = next((place for place in (root, *_splits(root)) if _is_flat(place)), None)
    is_asked = role is Role.TEST if split is None else split.lower() in ROLE_WORDS[Role.TEST]
    if flat is not None and (is_asked or (flat == root and split is None)) and read_label_file(flat) is None:
        return _open_flat(name, flat, root)
    source = folder.open_source(name, role, split)
    return dataclasses.replace(source, labels=class_names(source.labels))


def _open_flat(name: str, images: Path, root: Path) -> ImageSource:
    truth = find_ground_truth(images)
    if truth is None:
        raise DeployError(
            f"{images} contains ImageNet's validation images without their classes: expected the devkit's "
            "ILSVRC2012_validation_ground_truth.txt with meta.mat, Kaggle's LOC_val_solution.csv or a val.txt in this "
            "folder or a parent folder"
        )
    classes = read_ground_truth(truth)
    listing = list_images(images, images, deep=False)
    files = listing.images
    unknown = [file for file in files if file not in classes]
    if unknown:
        raise DeployError(f"{truth} does not have {unknown[0]} of {images}: expected all of its {len(files)} images")
    order = _classes(root, set(classes.values()))
    index = {wnid: number for number, wnid in enumerate(order)}
    labelled = [(file, index[classes[file]]) for file in files]
    return folder.open_files(name, images, labelled, class_names(order), notes=listing.notes(images))


def _classes(root: Path, listed: set[str]) -> list[str]:
    """Returns the classes of the training images beside them; else all 1,000, or those listed if there are others."""
    train = [place for place in _splits(root) if _holds_wnids(place)]
    found = sorted({path.name for place in train for path in place.iterdir() if WNID.fullmatch(path.name)})
    if listed <= set(found):
        return found
    every = [ilsvrc_wnid(index) for index in range(CLASSES)]
    return every if listed <= set(every) else sorted(listed)


def _splits(path: Path) -> list[Path]:
    return [place for name in SPLIT_WORDS if (place := path / name).is_dir()]


def _holds_wnids(path: Path) -> bool:
    names = [place.name for place in subfolders(path, path) if place.name not in NO_CLASSES]
    return bool(names) and all(WNID.fullmatch(name) for name in names)


def _is_flat(path: Path) -> bool:
    files = itertools.islice((place.name for place in path.iterdir()), INSPECTED)
    return any(file.startswith("ILSVRC2012_val_") for file in files)
