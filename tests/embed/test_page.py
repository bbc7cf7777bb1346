"""The commands and programs of docs/how-to/embedding.md, run one after another in a folder with a bundle."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.parametrize("library", ["native"], indirect=True, scope="session")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


@pytest.fixture(scope="module")
def folder(made_bundle: Path, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader has: the tree's images, a bundle, and `wrn-deploy` as a command."""
    del program  # it is skipped where the library cannot be built
    made = tmp_path_factory.mktemp("page")
    shutil.copytree(ROOT / "docs" / "images", made / "docs" / "images")
    shutil.copytree(made_bundle, made / "bundle")
    (made / "bin").mkdir()
    command = made / "bin" / "wrn-deploy"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM}" "$@"\n')
    command.chmod(0o755)
    return made


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block[1].strip().splitlines()[0][:50])
def test_a_block_of_the_page_works_after_those_before_it(block: tuple[str, str], folder: Path) -> None:
    language, text = block
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    if language == "c":
        (folder / "minimal.c").write_text(text)
        return
    if text.startswith("cmake") and shutil.which("cmake") is None:
        pytest.skip("no cmake")
    command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euc", text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    if "classify bundle" in text:
        assert re.search(r"^image 0: 7 \(\d+\.\d{3}\)$", done.stdout, re.MULTILINE)
    if text.endswith("./minimal\n"):
        assert len(done.stdout.splitlines()) == 10


def test_the_page_has_commands_and_names_every_call(library: Path) -> None:
    assert {language for language, _ in BLOCKS} == {"c", "console", "python"}
    header = (library / "include" / "wrn_runner.h").read_text()
    for call in re.findall(r"^WRN_API [^;]*?(wrn_\w+)\(", header, re.MULTILINE):
        assert f"`{call}`" in PAGE, f"docs/how-to/embedding.md does not name {call}"
