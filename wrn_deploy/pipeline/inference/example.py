"""Copies the trained bundle that comes with the package, and a picture for it: a first try without PyTorch."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import wrn_deploy.data
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.files.trust import Trust
from wrn_deploy.progress import Progress

__all__ = ["FACT", "FOLDER", "KEYS", "PICTURE", "Example", "Figures", "copy_example"]

FOLDER = Path(wrn_deploy.data.__file__).parent / "example"
KEYS = ("onnx-fp32", "onnx-int8-onnxruntime")
FACT = "accuracy"  # of each graph, in the facts of its artifact
PICTURE = "seven.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured when the example was made: `correct` of `images` test images of `data`."""

    data: str
    images: int
    correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The copy.

    Attributes:
        bundle: a wrn-10-1 that was trained on the packaged digits, as an fp32 and an int8 graph for ONNX Runtime.
        picture: one of the digits' test images, a 7.
        accuracy: of each graph, by the artifact's key.
    """

    bundle: Bundle
    picture: Path
    accuracy: dict[str, Figures]


def copy_example(out: Path, progress: Progress) -> Example:
    """Copies the example into the folder `out`; what is there already and whole stays as it is.

    Raises:
        DeployError: the folder holds something else.

    Example:
        >>> copied = copy_example(Path("new-example"), Silent())
        >>> sorted(copied.bundle.artifacts)
        ['onnx-fp32', 'onnx-int8-onnxruntime']
    """
    source = Bundle.open(FOLDER, trust=Trust())
    _check_replaced(out, source)
    bundle = Bundle.create(out, source.spec, random_weights=False)
    if _is_whole(out, source):
        progress.note(f"{out}: the example is there already")
    else:
        with bundle.transaction() as step:
            for artifact in source.artifacts.values():
                shutil.copyfile(source.file(artifact), step.file(artifact.path))
                step.artifacts.append(artifact)
            shutil.copyfile(FOLDER / PICTURE, step.file(PICTURE))
    accuracy = {key: Figures(**source.artifacts[key].facts[FACT]) for key in KEYS}
    return Example(bundle=Bundle.open(out, trust=Trust()), picture=out / PICTURE, accuracy=accuracy)


def _check_replaced(out: Path, source: Bundle) -> None:
    """Refuses a folder with a bundle that is not a copy of the example, to which later steps may have added."""
    try:
        there = Bundle.open(out, trust=Trust())
    except DeployError:  # nothing, or something that `Bundle.create` refuses, or damaged
        return
    if {key: dataclasses.asdict(there.artifacts[key]) for key in KEYS if key in there.artifacts} != {
        key: dataclasses.asdict(source.artifacts[key]) for key in KEYS
    }:
        raise DeployError(f"{out} holds another bundle, of {there.spec.name}: choose another --out")


def _is_whole(out: Path, source: Bundle) -> bool:
    try:
        there = Bundle.open(out, trust=Trust())
        for artifact in source.artifacts.values():
            there.find(artifact.key)
    except DeployError:
        return False
    return (out / PICTURE).is_file()
