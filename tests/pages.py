"""What a page of the documentation tells its reader to run, and running it as the reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.cli.app import GROUPS, load_command

__all__ = ["ROOT", "Step", "blocks", "check_options", "commands", "pages", "run", "shown", "steps"]

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
SHELLS = ("console", "sh")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to run: arguments of `wrn-deploy`, or Python code. `page` is the page's path in the tree."""

    page: str
    text: str
    arguments: tuple[str, ...]


def pages() -> list[str]:
    """Every page of the documentation, and the README."""
    return ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks in one of the languages."""
    return [text for language, text in BLOCK.findall(_text(page)) if language in languages]


def steps(page: str) -> list[Step]:
    """The commands in fenced console blocks and the Python blocks, in their order."""
    found: list[Step] = []
    for language, text in BLOCK.findall(_text(page)):
        if language in SHELLS:
            found += [Step(page, line, tuple(shlex.split(line, comments=True)[1:])) for line in commands(text)]
        elif language == "python":
            found.append(Step(page, text, ()))
    return found


def shown(page: str) -> list[str]:
    """The commands in indented blocks, which are not run: they name files that only the reader has."""
    lines = BLOCK.sub("", _text(page)).replace("\\\n", " ").splitlines()
    return commands("\n".join(line for line in lines if line.startswith("    ")))


def commands(text: str) -> list[str]:
    """The lines that call `wrn-deploy`, with or without a prompt, continued lines joined; others are passed over."""
    lines = [line.strip().removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("wrn-deploy ")]


def run(step: Step, folder: Path) -> None:
    """Runs a step in `folder`: it must succeed and print something."""
    program = ["-c", PROGRAM, *step.arguments] if step.arguments else ["-c", step.text]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    done = subprocess.run(
        [sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{step.page}: {step.text}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip()


def check_options(command: str) -> None:
    """The command of a page exists and takes the options that it is given."""
    words = shlex.split(command, comments=True)[1:]
    name = next(word for word in words if any(word in group for group in GROUPS.values()))
    options = {
        option for parameter in load_command(name).params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    arguments = words[words.index(name) + 1 :]
    assert {argument.partition("=")[0] for argument in arguments if argument.startswith("--")} <= options


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")
