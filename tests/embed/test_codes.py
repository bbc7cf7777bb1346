"""Each code of the header comes from both libraries where the Runner ends in that way, with the Runner's text."""

from __future__ import annotations

import re
import shutil
import subprocess
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.embed.conftest import Driver, Ran
from tests.pipeline.signing.test_sign import new_key
from wrn_deploy import Runner
from wrn_deploy.errors import DeployError

HEADER = Path(__file__).resolve().parents[2] / "native" / "include" / "wrn_runner.h"
# A library with the one symbol of ONNX Runtime's, which throws what no C library throws.
THROWS = (
    '#include <stdexcept>\nextern "C" const void *OrtGetApiBase() { throw std::runtime_error("a wire is loose"); }\n'
)
# Python imports it as it starts; opening a bundle then fails as it does in a program with a bug.
BREAKS = """
from wrn_deploy.runtime.runner import Runner
def broken(*given, **named):
    raise RuntimeError("a wire is loose")
Runner.open = broken
"""
BUG = r"a bug in wrn-deploy: (RuntimeError: )?a wire is loose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A library, the program that calls it, an intact bundle, and a folder for the test's files."""

    drive: Driver
    library: str
    bundle: Path
    folder: Path


def _said(open_it: Callable[[], Runner]) -> tuple[int, str]:
    """The code and the text with which the Runner ends."""
    try:
        open_it().close()
    except DeployError as error:
        return error.exit_code, re.escape(str(error))
    return 0, ""


def _good(at: Setting) -> tuple[Ran, tuple[int, str]]:
    return at.drive("open", at.bundle, "onnxruntime", "fp32"), _said(lambda: Runner.open(at.bundle))


def _missing(at: Setting) -> tuple[Ran, tuple[int, str]]:
    folder = at.folder / "none"
    return at.drive("open", folder, "onnxruntime", "fp32"), _said(lambda: Runner.open(folder, backend="onnxruntime"))


def _misused(at: Setting) -> tuple[Ran, tuple[int, str]]:
    wanted = _said(lambda: Runner.open(at.bundle, backend="onnxruntime", precision="fp16"))
    return at.drive("open", at.bundle, "onnxruntime", "fp16"), wanted


def _unsigned(at: Setting) -> tuple[Ran, tuple[int, str]]:
    pytest.importorskip("model_signing", reason="model-signing is not installed")
    _, public = new_key(at.folder, "ours")
    return at.drive("signed", at.bundle, public), _said(lambda: Runner.open(at.bundle, require_signature=public))


def _incapable(at: Setting) -> tuple[Ran, tuple[int, str]]:
    code, text = _said(lambda: Runner.open(at.bundle, backend="tensorrt", precision="fp16"))
    if code == 0:
        pytest.skip("TensorRT runs here")
    # The C++ library does not look for TensorRT: its text says which library does.
    return at.drive("open", at.bundle, "tensorrt", "fp16"), (code, text if at.library == "python" else ".+")


def _broken(at: Setting) -> tuple[Ran, tuple[int, str]]:
    if at.library == "native":
        (at.folder / "throws.cpp").write_text(THROWS)
        made = at.folder / "libthrows.so"
        compiler = shutil.which("g++") or "clang++"
        subprocess.run([compiler, "-shared", "-fPIC", at.folder / "throws.cpp", "-o", made], check=True)
        variables = {"WRN_RUNNER_ONNXRUNTIME": str(made)}
    else:
        venv.create(at.folder / "env", symlinks=True)
        packages = next((at.folder / "env").glob("lib/python*/site-packages"))
        paths = f"{HEADER.parents[2]}\n{Path(np.__file__).parents[1]}\n"
        (packages / "more.pth").write_text(paths, encoding="utf-8")
        (packages / "sitecustomize.py").write_text(BREAKS, encoding="utf-8")
        variables = {"WRN_RUNNER_PYTHON": str(at.folder / "env")}
    return at.drive("open", at.bundle, "onnxruntime", "fp32", **variables), (5, BUG)


TABLE = {
    "WRN_OK": _good,
    "WRN_ERROR": _missing,
    "WRN_USAGE": _misused,
    "WRN_GATE": _unsigned,
    "WRN_MACHINE": _incapable,
    "WRN_INTERNAL": _broken,
}


def _codes() -> dict[str, int]:
    declared = re.search(r"^enum \{\n  WRN_OK = 0,.*?^\};", HEADER.read_text(), re.MULTILINE | re.DOTALL)
    assert declared is not None
    return {name: int(code) for name, code in re.findall(r"(WRN_\w+) = (\d)", declared[0])}


def test_the_table_has_each_code_of_the_header() -> None:
    assert TABLE.keys() == _codes().keys()


@pytest.mark.parametrize("name", TABLE)
def test_the_code_and_the_text_are_the_runners(
    drive: Driver, library: Path, made_bundle: Path, tmp_path: Path, name: str
) -> None:
    at = Setting(drive=drive, library=library.name, bundle=made_bundle, folder=tmp_path)
    ran, (code, text) = TABLE[name](at)
    assert (ran.code, ran.err) == (0, "")
    assert ran.statuses[0] == code == _codes()[name], ran
    assert re.fullmatch(text, ran.messages[0]), f"{ran.messages[0]!r}, and not {text!r}"
