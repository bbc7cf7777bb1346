"""The images' recipes: what they copy is there, what they install is pinned, and the service's command answers."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import wrn_deploy

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [ROOT / "Dockerfile", ROOT / "examples" / "docker" / "Dockerfile"]
SERVICE = RECIPES[1]


def _instructions(recipe: Path) -> list[tuple[str, str]]:
    """(word, rest), comments left out and continued lines joined."""
    lines = [line for line in recipe.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def _one(word: str) -> str:
    return [rest for each, rest in _instructions(SERVICE) if each == word][-1]


@pytest.mark.parametrize("recipe", RECIPES, ids=["gpu", "service"])
def test_what_it_copies_and_installs_is_there(recipe: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if (ROOT / ".dockerignore").exists() else []
    copied = [rest.split()[:-1] for word, rest in _instructions(recipe) if word == "COPY" and "--from" not in rest]
    assert copied
    for source in (name for names in copied for name in names):
        assert (ROOT / source).exists()
        assert not any(fnmatch.fnmatch(source, pattern) for pattern in ignored)
    runs = " && ".join(rest for word, rest in _instructions(recipe) if word == "RUN")
    (install,) = re.findall(r"pip install ([^&]*)", runs)
    words = shlex.split(install)
    assert (ROOT / words[words.index("-c") + 1]).is_file()
    extras = re.fullmatch(r"\.\[([\w,-]+)\]", words[-1])
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_what_the_service_asks_for_is_pinned() -> None:
    asked = (ROOT / "examples" / "fastapi" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[<>=]", line)[0] for line in asked if line and not line.startswith("#")}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert names
    assert names <= pinned


def test_the_service_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _one("USER"))


def test_its_command_answers_its_health_check(tmp_path: Path) -> None:
    """Without Docker: the copied file in a folder of its own, the same commands, another port."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    (source, target), workdir = _one("COPY").split(), _one("WORKDIR")
    assert Path(target) == Path(workdir)
    shutil.copy(ROOT / source, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = json.loads(_one("CMD").replace("8000", port).replace("0.0.0.0", "127.0.0.1"))
    health = json.loads(_one("HEALTHCHECK").partition("CMD ")[2].replace("8000", port))
    assert (command[0], health[0], _one("EXPOSE")) == ("uvicorn", "python", "8000")
    bundle = wrn_deploy.example(tmp_path / "example").bundle.folder
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    environment |= {"BUNDLE": str(bundle), "BACKEND": "onnxruntime"}
    check = [sys.executable, *health[1:]]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 1, "nobody listens yet"
    with subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environment) as served:
        try:
            deadline = time.monotonic() + 120
            while subprocess.run(check, capture_output=True, check=False).returncode != 0:
                assert served.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            served.terminate()
