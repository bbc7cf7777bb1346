"""The pages of docs/: their commands and Python run, or at least exist, and their links lead to files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.pages import ROOT, Step, blocks, check_options, commands, pages, run, shown, steps

PAGES = [page for page in pages() if page != "README.md"]
RUN = ["docs/tutorial.md"]  # every step runs, one after another
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each page whose steps run: the clone's images."""
    made = {}
    for page in RUN:
        made[page] = tmp_path_factory.mktemp("page")
        shutil.copytree(ROOT / "docs" / "images", made[page] / "docs" / "images")
    return made


@pytest.mark.parametrize(
    "step", [step for page in RUN for step in steps(page)], ids=lambda step: step.text.strip().splitlines()[0]
)
def test_a_step_runs_after_those_before_it(step: Step, folders: dict[str, Path]) -> None:
    run(step, folders[step.page])


@pytest.mark.parametrize("page", RUN)
def test_a_page_that_runs_has_steps(page: str) -> None:
    assert any(step.arguments for step in steps(page))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_name_real_options(page: str) -> None:
    for command in [*shown(page), *(line for text in blocks(page, "console", "sh") for line in commands(text))]:
        check_options(command)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page: str) -> None:
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if link and not (ROOT / page).parent.joinpath(link).exists()] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (ROOT / page).parent.joinpath(link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if "://" not in link
    }
    assert {page for page in PAGES if (ROOT / page).resolve() not in linked} <= {"docs/index.md"}
