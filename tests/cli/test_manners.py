"""What every command has: -h, -q, -v, -o, two examples; what scripts rely on: errors as JSON, variables by name."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.cli.app import ENVIRONMENT, GROUPS, load_command
from wrn_deploy.cli.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [command for commands in GROUPS.values() for command in commands]


def test_every_command_has_two_examples() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_taken_by_the_command(command: str) -> None:
    declared = load_command(command)
    names = {name for parameter in declared.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for example in EXAMPLES[command]:
        assert len(example) <= 76, "a line of 80 columns"
        words = shlex.split(example)
        given = words[words.index(command) + 1 :]
        assert {word for word in given if re.match(r"--?[a-z]", word)} <= names, example
        declared.make_context(command, given).close()  # typer's own check of values and their number


@pytest.mark.parametrize("command", COMMANDS)
def test_short_options_and_examples_are_in_every_help(cli: Cli, command: str) -> None:
    text = cli(command, "-h").out
    assert "Examples:" in text
    assert all(example in text for example in EXAMPLES[command])
    for name, short in (("--help", "-h"), ("--quiet", "-q"), ("--verbose", "-v")):
        assert re.search(rf"{name} +{short} ", text), name
    assert "--out" not in text or re.search(r"--out +-o ", text)


def test_quiet_prints_the_result_alone(cli: Cli, tmp_path: Path) -> None:
    arguments = ("plot-model", "wrn-10-1", "-o", tmp_path / "net.svg")
    assert "picture: " in cli(*arguments).err
    quiet = cli(*arguments, "-q")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out


def test_verbose_says_where_an_error_arose(start: Callable[..., subprocess.Popen[str]]) -> None:
    _, plain = start("inspect", "nothing-here").communicate(timeout=120)
    _, verbose = start("inspect", "nothing-here", "-v").communicate(timeout=120)
    assert "inspect.py" not in plain
    assert "inspect.py" in verbose
    assert plain.splitlines()[-1] == verbose.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("inspect", "nothing-here"), "failed", 1),
        (("bench", "nothing-here"), "usage", 2),  # typer's own error: no --data
        (("compare", "a.json", "b.json", "--max-regress", "x"), "usage", 2),
        (("bench", "nothing-here", "--data", "digits", "--backend", "nobody"), "usage", 2),
    ],
)
def test_errors_are_json_with_a_stable_code(cli: Cli, arguments: tuple[str, ...], code: str, exit_code: int) -> None:
    outcome = cli(*arguments, "--json")
    error = json.loads(outcome.err.splitlines()[-1])["error"]
    assert (outcome.code, error["code"], error["exit_code"], outcome.out) == (exit_code, code, exit_code, "")
    assert error["text"]


def test_the_help_lists_every_environment_variable(cli: Cli) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "wrn_deploy").rglob("*.py")]
    read = {name for text in sources for name in re.findall(r'"(WRN_DEPLOY_[A-Z_]+)"', text)}
    assert set(ENVIRONMENT) == read
    shown = cli("--help").out
    assert all(name in shown for name in ENVIRONMENT)
