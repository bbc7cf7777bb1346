"""Options from a TOML file: they count as if they were typed, and the command line goes before them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.cli.app import load_command
from wrn_deploy.cli.options.config import read_config, values_of
from wrn_deploy.errors import UsageError

COMMANDS = ("bench", "eval", "plot-model", "models")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_values_are_those_that_would_be_typed() -> None:
    table = {"batches": [1, 8], "backend": ["torch", "openvino"], "rounds": 9, "duration": 0.5, "data": "digits"}
    table |= {"pictures": False, "all": True, "max-corrupt": 3}
    assert values_of(load_command("bench"), table) == {
        "batches": "1,8", "backends": ["torch", "openvino"], "rounds": "9", "duration_s": "0.5", "data": "digits",
        "pictures": False, "everything": True, "max_corrupt": "3",
    }  # fmt: skip
    assert values_of(load_command("bench"), {"no-pictures": True, "backend": "torch"}) == {
        "pictures": False, "backends": ["torch"],
    }  # fmt: skip


def test_wrong_names_are_refused_with_near_ones() -> None:
    with pytest.raises(UsageError, match=r"\[bench\] of the configuration has 'batch' \(did you mean batches"):
        values_of(load_command("bench"), {"batch": 1})
    with pytest.raises(UsageError, match="has 'bundle'"):
        values_of(load_command("bench"), {"bundle": "b"})
    Path("a.toml").write_text("[bnch]\nrounds = 3\n")
    with pytest.raises(UsageError, match=r"a\.toml has 'bnch' \(did you mean bench"):
        read_config(Path("a.toml"), COMMANDS)


@pytest.mark.parametrize(("text", "words"), [("[bench", "is not TOML"), (None, "cannot be read"), ("x = 1", "has 'x'")])
def test_a_file_that_is_none_is_refused(text: str | None, words: str) -> None:
    if text is not None:
        Path("a.toml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_config(Path("a.toml"), COMMANDS)


def test_a_pyproject_of_others_is_no_concern() -> None:
    assert read_config(None, COMMANDS) == {}
    for text in ("[tool.ruff]\nline-length = 9\n", "not toml [", "tool = 3\n"):
        Path("pyproject.toml").write_text(text)
        assert read_config(None, COMMANDS) == {}


def test_the_file_sets_defaults_and_the_command_line_overrides_them(cli: Cli) -> None:
    Path("a.toml").write_text("[models]\njson = true\n")
    assert json.loads(cli("--config", "a.toml", "models").out)
    Path("pyproject.toml").write_text("[tool.wrn-deploy.models]\njson = true\n")
    outcome = cli("models")
    assert json.loads(outcome.out)
    assert "options of pyproject.toml: json" in outcome.err
    Path("b.toml").write_text('[eval]\ndata = "digits"\nthreads = 0\n')
    assert "Invalid value for '--threads'" in cli("--config", "b.toml", "eval", "nothing").err
    assert "nothing found at 'nothing'" in cli("--config", "b.toml", "eval", "nothing", "--threads", 1).err
