"""The pages on the API, on deploy and on import: their Python runs, their commands exist, their lists are complete."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import wrn_deploy
from wrn_deploy.cli.app import GROUPS, load_command
from wrn_deploy.export.foreign.operators import OPERATORS
from wrn_deploy.models.aliases import ALIASES

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reference/python.md").read_text(encoding="utf-8")
COMMANDS = [
    line.strip()
    for page in ("how-to/deploy.md", "how-to/import.md")
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines()
    if line.startswith("    wrn-deploy ")
]


def test_the_python_blocks_run_one_after_another(
    made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made_bundle, tmp_path / "bundle")
    shutil.copy(made_bundle / "weights.safetensors", tmp_path)
    shutil.copy(made_bundle / "fp32.onnx", tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/reference/python.md", "exec"), names)
        assert capsys.readouterr().out, block


def test_the_list_of_stable_names_is_what_the_package_shows() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(wrn_deploy.__all__) == sorted(dir(wrn_deploy))
    commands = set(re.findall(r"\| `([a-z-]+)` \|$", PAGE, re.MULTILINE))
    assert commands - {"--version"} <= {name for group in GROUPS.values() for name in group}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_real_options(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    options = {option for parameter in load_command(name).params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_the_pages_name_every_operator_and_alias() -> None:
    text = (DOCS / "how-to/import.md").read_text(encoding="utf-8")
    listed = text.partition("operators on images:\n\n")[2].partition(".\n")[0].replace("\n", " ")
    assert listed.split(", ") == sorted({*OPERATORS, "Softmax", "LogSoftmax"})
    assert all(
        f"`{name}`" in (DOCS / "how-to/deploy.md").read_text(encoding="utf-8")
        for pair in ALIASES.items()
        for name in pair
    )
