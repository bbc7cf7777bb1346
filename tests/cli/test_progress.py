"""Progress on a terminal and into a file: always on stderr, counts never cut, text never taken for markup."""

from __future__ import annotations

import re
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.conftest import Cli
from wrn_deploy.cli.progress import TerminalProgress

TITLE = "Training wrn-16-2 on [digits] (1438 images, 12 epochs)"


def _shown(width: int, *, terminal: bool) -> str:
    stream = StringIO()
    progress = TerminalProgress(Console(file=stream, force_terminal=terminal, width=width, color_system=None))
    with progress.task(TITLE, 17964) as advance:
        advance(17964)
    progress.note("a note on [bold]weights[/bold]")
    progress.warn("beware of " + "long " * 40)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_a_file_gets_plain_whole_lines() -> None:
    lines = _shown(40, terminal=False).splitlines()
    assert lines[0] == f"{TITLE} ..."
    assert re.fullmatch(re.escape(TITLE) + r": \d+\.\d s", lines[1])
    assert lines[2] == "a note on [bold]weights[/bold]"
    assert lines[3].startswith("warning: beware of long long")
    assert len(lines) == 4


def test_a_file_hears_of_long_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wrn_deploy.cli.progress.SPEAK_S", 0.05)
    stream = StringIO()
    with TerminalProgress(Console(file=stream, width=200)).task("Timing 3 candidates", 186) as advance:
        advance(1)
        time.sleep(0.06)
        advance(39)
        advance(1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3, "the third unit came too soon for another line"
    assert re.fullmatch(r"Timing 3 candidates: 40 of 186 after \d+ s, about \d+ s left", lines[1])


def test_quiet_progress_shows_warnings_alone() -> None:
    stream = StringIO()
    progress = TerminalProgress(Console(file=stream, width=200), quiet=True)
    with progress.task("Timing", 2) as advance:
        advance(2)
    progress.note("a note")
    progress.warn("beware")
    assert stream.getvalue() == "warning: beware\n"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_terminal_shows_title_and_count_whole(width: int) -> None:
    text = _shown(width, terminal=True)
    assert TITLE in text
    assert "17964/17964" in text
    assert "━" in text or width < 100
    assert re.search(re.escape(TITLE) + r": \d+\.\d s", text)


def test_an_error_within_a_task_ends_its_bar() -> None:
    progress = TerminalProgress(Console(file=StringIO(), force_terminal=True, width=80))
    with pytest.raises(ValueError, match="within"), progress.task("first"):
        raise ValueError("within")
    with progress.task("second", 1) as advance:  # another bar can be shown
        advance(1)


def test_stdout_is_json_alone_while_bars_are_shown(
    cli: Cli, made_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes a pipe for a terminal then
    outcome = cli("calibrate", made_bundle, "--calib-data", "digits", "--calib-size", 128, "--json")
    assert outcome.json()["model"] == "wrn-10-1"
    assert "128/128" in outcome.err
