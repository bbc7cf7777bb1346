"""Small steps in processes of their own, since a library may end the process that calls it."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass

from wrn_deploy.process.children import run_child

__all__ = ["Step", "run_python"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a step ended; `ending` is "" if it ended well, else why not; `late`: its time was up."""

    out: str
    err: str
    ending: str
    late: bool = False

    @property
    def last(self) -> str:
        """The last line of its stderr, or "" without one."""
        lines = self.err.strip().splitlines()
        return lines[-1].strip() if lines else ""

    @property
    def why(self) -> str:
        """Why it did not end well, with its last words."""
        return f"{self.ending}: {self.last}" if self.last else self.ending


def run_python(*arguments: str, seconds: float) -> Step:
    """Runs this Python with arguments, for `seconds` at most, and returns how that ended."""
    try:
        done = run_child([sys.executable, *arguments], timeout_s=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        return Step(out="", err="", ending=f"it did not end within {seconds:.0f} s", late=True)
    ending = ""
    if done.returncode < 0:
        ending = f"its process died ({signal.Signals(-done.returncode).name})"
    elif done.returncode:
        ending = f"exit code {done.returncode}"
    return Step(out=done.stdout, err=done.stderr, ending=ending)
