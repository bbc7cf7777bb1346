"""The files of a release agree: versions, workflows that run what .ci/run runs, and pinned actions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import wrn_deploy

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = [
    *sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    *sorted(ROOT.glob("examples/github-action/*.yml")),
]
ours = pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="a source archive has no .github")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    return found


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in _read(path)["jobs"].values() for step in job["steps"]]


def _made(text: str) -> list[str]:
    """The targets of the lines that call make."""
    return [name for line in re.findall(r"^\s*make (.+)$", text, re.MULTILINE) for name in line.split()]


def test_one_version_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert top is not None
    assert top[1] == wrn_deploy.__version__
    assert _read(ROOT / "CITATION.cff")["version"] == wrn_deploy.__version__


@ours
def test_the_workflow_runs_what_every_change_must_pass() -> None:
    path = ROOT / ".github" / "workflows" / "tests.yml"
    ran = [name for step in _steps(path) for name in _made(step.get("run", ""))]
    assert ran == _made((ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert len(ran) >= 3


@ours
def test_it_runs_on_every_python_that_the_package_names() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    named = [found[1] for each in classifiers if (found := re.fullmatch(r".* :: Python :: (3\.\d+)", each))]
    matrix = _read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == named


@ours
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_makes_what_there_is_with_actions_of_one_commit(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    steps = _steps(path)
    assert {name for step in steps for name in _made(step.get("run", ""))} <= targets
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    assert "permissions" in _read(path), "a token that may do what the repository's settings say"
    jobs = _read(path)["jobs"].values()
    assert all("timeout-minutes" in job for job in jobs)
    commented = re.findall(r"uses: \S+ # v\d", path.read_text(encoding="utf-8"))
    assert len(commented) == sum("uses" in step for step in steps)


@ours
def test_a_bug_report_asks_for_the_machine() -> None:
    forms = {path.stem: _read(path) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert set(forms) == {"bug", "feature", "config"}
    asked = {field.get("id"): field["attributes"].get("label") for field in forms["bug"]["body"]}
    assert asked["machine"] == "wrn-deploy doctor --json"


@ours
def test_the_hooks_before_a_commit_are_the_tools_of_make_check() -> None:
    hooks = _read(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/python"}
