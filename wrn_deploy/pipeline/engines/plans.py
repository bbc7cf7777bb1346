"""Finds the bundle of a plan, and recognises plans by their first bytes; opens none."""

from __future__ import annotations

from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.regular import open_regular
from wrn_deploy.manifest import MANIFEST, Artifact, Kind

__all__ = ["MAGIC", "bundle_of", "is_plan", "plan_flavor"]

MAGIC = {b"vtrt": "tensorrt_rtx", b"ftrt": "tensorrt", b"ptrt": "tensorrt"}  # ptrt: up to TensorRT 8
EXPECTED = "expected an ONNX graph or a plan, such as BUNDLE/int8-onnxruntime.onnx"
SUFFIXES = (".plan", ".engine", ".trt")


def plan_flavor(file: Path) -> str | None:
    """The TensorRT that the file's first bytes name; None: the file is not a plan, or a damaged one."""
    if file.is_dir():
        raise DamagedFile(f"{file} is a folder: {EXPECTED}")
    try:
        with open_regular(file) as stream:
            return MAGIC.get(stream.read(4))
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error.strerror or error}): {EXPECTED}") from error


def is_plan(file: Path) -> bool:
    """Whether the file is a plan, by its first bytes or its name."""
    return file.suffix.lower() in SUFFIXES or plan_flavor(file) is not None


def bundle_of(file: Path) -> tuple[Bundle, Artifact] | None:
    """The bundle and artifact of a plan, by the manifest beside it or in a folder above; None: there is none.

    Raises:
        DeployError: the manifest is damaged.
    """
    file = file.resolve()
    for folder in file.parents[:3]:
        if (folder / MANIFEST).is_file():
            bundle = Bundle.open(folder)
            own = [made for made in bundle.artifacts.values() if bundle.file(made).resolve() == file]
            return (bundle, own[0]) if own and own[0].kind is Kind.PLAN else None
    return None
