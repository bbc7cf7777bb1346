"""Progress on a terminal: bars and notes on stderr, plain lines if stderr is not a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from wrn_deploy.cli.options.everywhere import Verbosity, verbosity
from wrn_deploy.cli.streams import printable_streams
from wrn_deploy.cli.terminal import TerminalConsole
from wrn_deploy.formatting import printable

__all__ = ["TerminalProgress", "new_progress"]

SPEAK_S = 10.0  # between the lines that a task prints without a terminal
WIDE = 100  # columns; a narrower terminal has room for title, count and time, but not for a bar


def new_progress() -> TerminalProgress:
    """Where a command reports its progress: stderr."""
    return TerminalProgress(TerminalConsole(stderr=True), quiet=verbosity() is Verbosity.QUIET)


class TerminalProgress:
    """Implements `progress.Progress` on a console that writes to stderr."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A bar (or a spinner without `total`) while the block runs, then one line with the time it took."""
        start = time.perf_counter()
        if self._quiet:
            yield lambda _units: None
            return
        if self._console.is_terminal:
            bar = [BarColumn(bar_width=20)] if self._console.width >= WIDE else []
            counted = [*bar, MofNCompleteColumn()] if total is not None else []
            times = [TimeElapsedColumn(), *([TimeRemainingColumn()] if bar and counted else [])]
            spinner = SpinnerColumn("line" if self._console.options.ascii_only else "dots")
            columns = [spinner, TextColumn("{task.description}", markup=False), *counted, *times]
            # Rich's own redirection would take escape sequences of what is printed meanwhile for styles.
            bars = Bars(*columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False)
            with bars, printable_streams(above=self._console):
                task = bars.add_task(printable(title), total=total)
                yield lambda units: bars.advance(task, units)
        else:
            self._print(f"{title} ...")
            yield self._speaker(title, total)
        self._print(f"{title}: {time.perf_counter() - start:.1f} s")

    def _speaker(self, title: str, total: int | None) -> Callable[[int], None]:
        """What prints a line with the units done, if the last line of the task is SPEAK_S old."""
        start = last = time.perf_counter()
        done = 0

        def advance(units: int) -> None:
            nonlocal done, last
            done += units
            now = time.perf_counter()
            if now - last >= SPEAK_S:
                last = now
                left = f", about {(total - done) * (now - start) / done:.0f} s left" if total and done else ""
                self._print(f"{title}: {done}{f' of {total}' if total else ''} after {now - start:.0f} s{left}")

        return advance

    def note(self, text: str) -> None:
        """One plain line."""
        if not self._quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        """One marked line."""
        self._print(f"warning: {text}", style="yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        line = printable(text, breaks=False)
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
