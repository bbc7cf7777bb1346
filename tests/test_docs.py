"""The pages of docs/: their commands and Python run, or at least exist, and their links lead to files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.pages import ROOT, Step, blocks, check_options, commands, pages, run, shown, steps

PAGES = [page for page in pages() if page != "README.md"]
BUNDLE = ("docs/how-to/ci-gate.md", "docs/how-to/cluster.md", "docs/how-to/fastapi.md")  # a reader of these has one
CIFAR = "docs/how-to/cifar.md"  # a reader has a checkpoint and the data set
RUN = ("docs/tutorial.md", *BUNDLE, CIFAR)  # every step runs, one after another
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def name(step: Step) -> str:
    return step.text.strip().splitlines()[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each page whose steps run: the clone's images."""
    made = {}
    for page in RUN:
        made[page] = tmp_path_factory.mktemp("page")
        shutil.copytree(ROOT / "docs" / "images", made[page] / "docs" / "images")
    return made


@pytest.mark.parametrize("step", steps("docs/tutorial.md"), ids=name)
def test_a_step_of_the_tutorial_runs_after_those_before_it(step: Step, folders: dict[str, Path]) -> None:
    run(step, folders[step.page])


@pytest.mark.parametrize("step", [step for page in BUNDLE for step in steps(page)], ids=name)
def test_a_step_with_a_bundle_runs(step: Step, folders: dict[str, Path], made_bundle: Path) -> None:
    bundle = folders[step.page] / "bundle"
    if not bundle.exists():
        shutil.copytree(made_bundle, bundle)
    run(step, folders[step.page])


@pytest.mark.parametrize("step", steps(CIFAR), ids=name)
def test_a_step_with_a_cifar_checkpoint_runs(step: Step, folders: dict[str, Path], shared_data: Path) -> None:
    folder = folders[step.page]
    if not (folder / "cifar-10-batches-bin").exists():
        shutil.copy(shared_data / "checkpoints" / "wrn-16-2-cifar10.pth", folder)
        write_cifar(shared_data / "cifar10", folder / "cifar-10-batches-bin")
    run(step, folder)


def write_cifar(source: Path, folder: Path) -> None:
    """CIFAR-10's binary version with the exact images that there are."""
    folder.mkdir()
    with np.load(source / "train-exact-8068.npz") as train, np.load(source / "test-exact-1017.npz") as test:
        images = [*np.array_split(train["images"], 5), test["images"]]
        labels = [*np.array_split(train["labels"], 5), test["labels"]]
    for name, pixels, classes in zip(
        [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], images, labels, strict=True
    ):
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        (folder / f"{name}.bin").write_bytes(
            np.concatenate([classes.astype(np.uint8)[:, None], planes], axis=1).tobytes()
        )
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    (folder / "batches.meta.txt").write_text("\n".join(names.split()) + "\n", encoding="utf-8")


@pytest.mark.parametrize("page", RUN)
def test_a_page_that_runs_has_steps(page: str) -> None:
    assert steps(page)


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


def test_errors_on_the_page_of_troubles_are_those_of_the_code() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    folders = [ROOT / folder for folder in ("wrn_deploy", "export", "calib", "engines")]
    sources = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    joined = re.sub(r"\"\s*\n\s*f?\"", "", sources)  # the parts of a text
    quoted = re.findall(r"^### `([^`]+)`$", page, re.MULTILINE)
    assert len(quoted) > 10
    parts = [part.strip(" ,") for text in quoted for part in text.split("...")]
    assert [part for part in parts if part not in joined] == []
