"""What --help and --version say, and that every option is explained."""

from __future__ import annotations

import importlib
import re

import pytest
import typer

import wrn_deploy
from tests.cli.conftest import Cli
from tests.word_list import find_phrases
from wrn_deploy.cli.app import GROUPS
from wrn_deploy.cli.show.results import show_diagnosis
from wrn_deploy.pipeline.inspection.doctor import Diagnosis

PANELS = {
    "Networks": ["demo", "models", "train", "export", "deploy", "import"],
    "Quantization": ["calibrate", "tune", "finetune", "lint"],
    "Engines": ["build-engine"],
    "Measuring": ["bench", "eval", "compare"],
    "Inference": ["example", "predict", "embed"],
    "Scoring": ["score"],
    "Serving": ["repository", "serve"],
    "Signing": ["sign", "verify"],
    "Inspection": ["inspect", "explain", "plot-training", "plot-model", "doctor"],
}
COMMANDS = [command for commands in PANELS.values() for command in commands]


def test_the_version(cli: Cli) -> None:
    assert cli("--version").out == f"wrn-deploy {wrn_deploy.__version__}\n"


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    outcome = cli()
    assert outcome.code == 2
    assert all(command in outcome.out + outcome.err for command in COMMANDS)


def test_the_help_lists_every_command_and_the_exit_codes(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    panels = re.findall(r"╭─ (\w+) ─+╮\n(.*?)╰", outcome.out, re.DOTALL)
    assert panels.pop(0)[0] == "Options"
    assert {title: re.findall(r"│ ([a-z][a-z-]+) {2,}[A-Z]", text) for title, text in panels} == PANELS
    assert "3 a gate failed, 4 this machine cannot do it, 130 interrupted" in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_and_no_internal_name_shows(cli: Cli, command: str) -> None:
    text = cli(command, "--help").out
    options = [line for line in text.splitlines() if re.match(r"│ [* ]*--", line)]
    assert options
    for line in options:
        assert re.search(r"  [A-Z.a-z][^\[\]]+[.:] ", line), f"no explanation: {line}"
    assert not re.search(r"None|Annotated|Optional|wrn_deploy|<|\| None|[a-z]Options", text)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_help_is_in_plain_english(cli: Cli, command: str) -> None:
    text = re.sub(r"[│╭╮╰╯─]+", " ", cli(*([command] if command else []), "--help").out)
    assert [f"{hit.phrase!r}: write {hit.better}" for hit in find_phrases(text)] == []


def test_defaults_are_shown(cli: Cli) -> None:
    text = cli("calibrate", "--help").out
    assert re.search(r"--calib-size .*\[default: 256\]", text)
    assert re.search(r"--calib-method .*entropy, max.* or percentile.*\[default: mse\]", text)


def test_a_command_that_is_nearly_right_is_suggested(cli: Cli) -> None:
    outcome = cli("exprt", "wrn-16-2")
    assert outcome.code == 2
    assert "Did you mean 'export'?" in outcome.err


@pytest.mark.parametrize("group", GROUPS)
def test_the_list_of_commands_agrees_with_the_commands(group: str) -> None:
    module = importlib.import_module(f"wrn_deploy.cli.commands.{group}")
    real = typer.main.get_group(module.app).commands
    assert {name: (command.help or "").partition("\n")[0] for name, command in real.items()} == GROUPS[group]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_cut_in_80_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = cli(command, "--help")
    assert max(map(len, outcome.out.splitlines())) == 80
    assert "…" not in outcome.out


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("pl", {"plot-training", "plot-model"}), ("compare --base", {"--baseline"}), ("eval --workers", {"--workers"})],
)
def test_a_shell_completes_commands_and_options(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, typed: str, completed: set[str]
) -> None:
    monkeypatch.setenv("_WRN_DEPLOY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"wrn-deploy {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    assert set(cli().out.split()) == completed


def test_text_in_brackets_is_printed_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """Tables would take `[gpu]` for the name of a style."""
    show_diagnosis(Diagnosis({"[red]": "[bold]"}, {"run": "pip install 'wrn-deploy[gpu]'"}, {}), as_json=False)
    said = capfd.readouterr().out
    assert all(text in said for text in ("[red]", "[bold]", "'wrn-deploy[gpu]'"))
