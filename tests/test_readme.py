"""The README's commands and Python blocks, run one after another in an empty folder, as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from wrn_deploy.cli.app import GROUPS, load_command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
SHELLS = ("console", "sh")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the README tells its reader to run: arguments of `wrn-deploy`, or Python code."""

    text: str
    arguments: tuple[str, ...]


def _blocks(*languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(README) if language in languages]


def _commands(text: str) -> list[str]:
    """The lines that call `wrn-deploy`, with or without a prompt, continued lines joined; others are passed over."""
    lines = [line.strip().removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("wrn-deploy ")]


COMMANDS = [command for block in _blocks(*SHELLS) for command in _commands(block)]
STEPS = [
    *(Step(command, tuple(shlex.split(command, comments=True)[1:])) for command in COMMANDS),
    *(Step(code, ()) for code in _blocks("python")),
]
SHOWN = _commands(BLOCK.sub("", README))  # in indented blocks: they name files that only the reader has


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder but for the images that the README refers to."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "docs", made / "docs")
    return made


def test_the_readme_has_commands() -> None:
    assert COMMANDS, "no fenced console or sh block of the README calls wrn-deploy"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.text.strip().splitlines()[0])
def test_a_step_runs_after_those_before_it(step: Step, folder: Path) -> None:
    program = ["-c", PROGRAM, *step.arguments] if step.arguments else ["-c", step.text]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    done = subprocess.run(
        [sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{step.text}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip()


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_that_is_only_shown_names_real_options(command: str) -> None:
    name, *arguments = shlex.split(command, comments=True)[1:]
    assert any(name in commands for commands in GROUPS.values())
    options = {
        option for parameter in load_command(name).params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_the_table_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert set(extras) <= listed
