"""The stand-in's TensorRT has no name, parameter or enum member that the real one lacks."""

from __future__ import annotations

import importlib
import inspect
from enum import EnumMeta
from typing import Any

import pytest

from tests.engines.signatures import CLASSES
from tests.engines.test_signatures import real_classes

REAL = {"tensorrt": "tensorrt_lean_bindings", "tensorrt_rtx": "tensorrt_rtx"}
# Of our side of the classes: `plan` and `logger` of the engine, and what its own graphs captured.
OURS = {"plan", "logger", "usable", "captures", "captures_itself", "rtx"}


def members(owner: type) -> dict[str, Any]:
    names = [name for name in dir(owner) if not name.startswith("_") and name not in OURS]
    return {name: inspect.getattr_static(owner, name) for name in names}


def described(function: Any) -> str:
    """The class that a method returns, by its last name."""
    text = str(inspect.signature(function).return_annotation).split(" | ")[0]
    return text.removeprefix("Rtx")


@pytest.mark.parametrize("flavor", REAL)
def test_methods_take_what_the_real_ones_take(flavor: str) -> None:
    fake, real = importlib.import_module(flavor), real_classes(REAL[flavor])
    compared = 0
    for owner in CLASSES:
        if owner not in real or not hasattr(fake, owner):
            continue
        for name, member in members(getattr(fake, owner)).items():
            assert name in real[owner], f"{owner}.{name}"
            there = real[owner][name]
            if not inspect.isfunction(member):
                assert there.settable is not None, f"{owner}.{name} is a method"
                continue
            parameters = [each for each in inspect.signature(member).parameters if each != "self"]
            known = [{parameter for parameter, _, _ in taken} for taken, _ in there.overloads]
            assert known, f"{owner}.{name} is a property"
            assert set(parameters) <= set.union(*known), f"{owner}.{name}{parameters}: {known}"
            compared += 1
            if described(member) in ("bool", "None", "int", "str"):
                assert {described(member)} == there.results, f"{owner}.{name}"
    assert compared >= 15


def test_the_names_of_enums_are_real() -> None:
    """Of TensorRT-RTX, whose module imports here; of full TensorRT, `tests/engines` has the lists."""
    import json
    import subprocess
    import sys

    from tests.driver import environment

    fake = importlib.import_module("tensorrt_rtx")
    program = (
        "import enum, json, tensorrt_rtx as t\n"
        "print(json.dumps({n: list(v.__members__) for n, v in vars(t).items() if hasattr(v, '__members__')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment.variables(fakes=False),
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named" in done.stderr:
        pytest.skip("TensorRT-RTX is not installed")
    real = json.loads(done.stdout)
    for name, member in vars(fake).items():
        if isinstance(member, EnumMeta) and name != "EngineInvalidityDiagnostics":
            assert set(member.__members__) <= set(real[name]), name
