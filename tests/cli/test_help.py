"""What --help and --version say, and that every option is explained."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import wrn_deploy
from tests.cli.conftest import Cli
from wrn_deploy.cli import commands
from wrn_deploy.cli.show.tables import show_diagnosis
from wrn_deploy.pipeline.inspection.doctor import Diagnosis

COMMANDS = [
    *(
        "models",
        "doctor",
        "train",
        "export",
        "calibrate",
        "build-engine",
        "tune",
        "finetune",
        "lint",
        "inspect",
        "explain",
    ),
    *("bench", "eval", "predict", "demo"),
    *("compare", "embed"),
    *("plot-training", "plot-model"),
]


def test_the_version(cli: Cli) -> None:
    assert cli("--version").out == f"wrn-deploy {wrn_deploy.__version__}\n"


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    outcome = cli()
    assert outcome.code == 2
    assert all(command in outcome.out + outcome.err for command in COMMANDS)


def test_the_help_lists_every_command_and_the_exit_codes(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    assert re.findall(r"│ ([a-z][a-z-]+) {2,}[A-Z]", outcome.out) == COMMANDS
    assert "3 a gate failed, 4 this machine cannot do it" in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_and_no_internal_name_shows(cli: Cli, command: str) -> None:
    text = cli(command, "--help").out
    options = [line for line in text.splitlines() if re.match(r"│ [* ]*--", line)]
    assert options
    for line in options:
        assert re.search(r"  [A-Z.a-z][^\[\]]+[.:] ", line), f"no explanation: {line}"
    assert not re.search(r"None|Annotated|Optional|wrn_deploy|<function|\| None", text)


def test_defaults_are_shown(cli: Cli) -> None:
    text = cli("calibrate", "--help").out
    assert re.search(r"--calib-size .*\[default: 256\]", text)
    assert re.search(r"--calib-method .*entropy, max.* or percentile.*\[default: mse\]", text)


def test_a_command_that_is_nearly_right_is_suggested(cli: Cli) -> None:
    outcome = cli("exprt", "wrn-16-2")
    assert outcome.code == 2
    assert "Did you mean 'export'?" in outcome.err


def test_commands_are_at_most_15_lines() -> None:
    files = Path(commands.__file__).parent.glob("*.py")
    bodies = [ast.parse(file.read_text(encoding="utf-8")).body for file in files]
    functions = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]
    assert len(functions) > len(COMMANDS)
    for function in functions:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        if body:
            assert (body[-1].end_lineno or 0) - body[0].lineno < 15, function.name


def test_text_in_brackets_is_printed_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Tables would take `[gpu]` for the name of a style."""
    show_diagnosis(Diagnosis({"[red]": "[bold]"}, {"run": "pip install 'wrn-deploy[gpu]'"}), as_json=False)
    said = capfd.readouterr().out
    assert all(text in said for text in ("[red]", "[bold]", "'wrn-deploy[gpu]'"))
