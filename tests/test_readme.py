"""The README: short, its commands and Python run as a reader would run them, and its links lead to files."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.pages import ROOT, Step, blocks, check_options, run, shown, steps

README = (ROOT / "README.md").read_text(encoding="utf-8")
LARGEST = 8192  # bytes
SITE = "https://wrn-deploy.github.io/wrn-deploy/"
FILES = re.compile(
    r"https://(?:github\.com/wrn-deploy/wrn-deploy/(?:blob|tree)|raw\.githubusercontent\.com/wrn-deploy/wrn-deploy)"
    r"/main/([^)#\s\"]+)"
)
LINKS = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder but for the images that the README refers to."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "docs" / "images", made / "docs" / "images")
    return made


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= LARGEST


def test_the_first_screen_says_what_has_not_run() -> None:
    assert "Not run on a GPU yet" in "\n".join(README.splitlines()[:25])


@pytest.mark.parametrize("step", steps("README.md"), ids=lambda step: step.text.strip().splitlines()[0])
def test_a_step_runs_after_those_before_it(step: Step, folder: Path) -> None:
    run(step, folder)


def test_the_readme_has_commands_and_python() -> None:
    found = steps("README.md")
    assert any(step.arguments for step in found)
    assert any(not step.arguments for step in found)


@pytest.mark.parametrize("command", shown("README.md"))
def test_a_command_that_is_only_shown_names_real_options(command: str) -> None:
    check_options(command)


def test_links_are_absolute_because_an_index_shows_the_readme_too() -> None:
    links = [first or second for first, second in LINKS.findall(README)]
    assert len(links) > 20
    assert [link for link in links if not FILES.match(link) and link != SITE] == []


@pytest.mark.parametrize("file", sorted(set(FILES.findall(README))))
def test_a_link_leads_to_a_file(file: str) -> None:
    assert (ROOT / file).exists()


def test_the_page_on_installing_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs/reference/install.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert set(extras) <= listed


def test_the_lines_of_cplusplus_compile(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    (lines,) = blocks("README.md", "cpp")
    before = "#include <wrn_runner.h>\nvoid f(wrn_runner runner, wrn_images images, wrn_buffer logits) {\n"
    (tmp_path / "lines.cpp").write_text(f"{before}{lines}}}\n", encoding="utf-8")
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Werror", "-I", str(ROOT / "native" / "include")]
    done = subprocess.run([compiler, *flags, str(tmp_path / "lines.cpp")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
