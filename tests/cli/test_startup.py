"""A command imports what it runs: what --version, --help and the options of commands load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import PROGRAM
from wrn_deploy.cli.app import GROUPS

HEAVY = {"torch", "onnx", "onnx_ir", "onnxruntime", "openvino", "tensorrt", "scipy", "PIL"}
REPORT = "\nimport atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"


def loaded(*arguments: str) -> set[str]:
    """The modules that `wrn-deploy` with these arguments has loaded when it ends."""
    command = [sys.executable, "-c", REPORT + PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "wrn_deploy"}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_program_alone_loads_few_modules(option: str) -> None:
    modules = loaded(option)
    assert {"wrn_deploy.cli.app", "typer"} <= modules
    assert len(ours(modules)) < 40
    assert not modules & {*HEAVY, "numpy"}
    assert not {name for name in ours(modules) if name.startswith("wrn_deploy.cli.commands.")}


@pytest.mark.parametrize(("command", "group"), [("models", "networks"), ("inspect", "inspection")])
def test_the_help_of_a_command_loads_its_group_alone(command: str, group: str) -> None:
    modules = loaded(command, "--help")
    assert not modules & {*HEAVY, "numpy"}
    groups = {name.rpartition(".")[2] for name in modules if name.startswith("wrn_deploy.cli.commands.")}
    assert groups == {group}


def test_options_load_no_pipeline() -> None:
    code = f"import sys\nfrom wrn_deploy.cli.commands import {', '.join(GROUPS)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "wrn_deploy.cli.commands.quantization" in modules
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith("wrn_deploy.pipeline")}
