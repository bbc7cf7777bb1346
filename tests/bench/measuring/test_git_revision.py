"""The revision is that of the given tree alone: no other repository is asked, and no error comes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wrn_deploy.bench.measuring.watch import git_revision

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"], ["tag", "-a", "v1", "-m", "v1"]):
        subprocess.run([*GIT, *command], cwd=tree, check=True)
    return tree


def test_a_change_makes_it_dirty(checkout: Path) -> None:
    assert git_revision(checkout) == "v1"
    (checkout / "file").write_text("two")
    assert git_revision(checkout) == "v1-dirty"


def test_a_folder_inside_of_a_checkout_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As site-packages of an environment that lies in a user's repository."""
    inside = checkout / "env" / "site-packages"
    inside.mkdir(parents=True)
    assert git_revision(inside) is None
    monkeypatch.chdir(checkout)
    assert git_revision(inside) is None


def test_variables_do_not_lead_to_another_repository(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert git_revision(checkout) == "v1"


def test_without_git_or_with_a_damaged_repository_there_is_none(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged"
    (damaged / ".git").mkdir(parents=True)
    assert git_revision(damaged) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision(checkout) is None


def test_the_program_s_own_tree_is_asked() -> None:
    top = Path(__file__).resolve().parents[3]
    found = git_revision()
    if not (top / ".git").exists():
        assert found is None
    else:
        assert found is None or found.strip()
