"""Each package of an extra has one pin that fits it, so has what the installed ones need, and CUDA is 13."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
OURS = "wrn-deploy"


def _pins() -> list[tuple[str, Version]]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line]
    return [(canonicalize_name(name), Version(version)) for name, version in pairs]


PINS = dict(_pins())


def _asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    found = [Requirement(each) for each in (*project["dependencies"], *extras)]
    return [each for each in found if each.name != OURS]


def test_no_package_is_pinned_twice() -> None:
    assert len(_pins()) == len(PINS)


def test_what_an_extra_names_is_pinned_to_a_version_that_it_takes() -> None:
    pins = {each: PINS.get(canonicalize_name(each.name)) for each in _asked()}
    misfits = [str(each) for each, pin in pins.items() if pin is None or pin not in each.specifier]
    # NVIDIA's plug-in for ONNX Runtime has no version yet that was tried.
    assert misfits == ["onnxruntime-ep-nv-tensorrt-rtx>=0.4"]


def test_what_installed_packages_need_is_pinned_too() -> None:
    missing = set()
    for name in PINS:
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(need.name)} - set(PINS)
    assert not missing


def test_every_package_of_cuda_is_of_cuda_13() -> None:
    assert not [name for name in PINS if re.search(r"-cu(?!13)\d+", name)]
    by_version = [name for name in PINS if name.startswith(("cuda-toolkit", "cuda-bindings", "nvidia-cuda-"))]
    assert len(by_version) >= 5
    assert {PINS[name].major for name in by_version} == {13}
