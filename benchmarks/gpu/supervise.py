"""Runs one part in a process of its own, within its time, and says every few seconds how far it is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.outcome import Outcome, State, file_of, read_outcome, write_outcome
from benchmarks.gpu.parts import Part
from wrn_deploy.formatting import printable
from wrn_deploy.process.children import Child

__all__ = ["Setup", "run_part"]

SPEAK_S = 10.0  # the longest silence
GRACE_S = 5.0  # a part whose time is up may end by itself for this long
LOOK_S = 0.2
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all parts of a report share.

    Args:
        out: its folder.
        networks: their names, the most important first.
        batches: batch sizes.
        machine: what identifies the GPU and its driver, as JSON types.
        revision: of the program's source tree.
    """

    out: Path
    networks: tuple[str, ...]
    batches: tuple[int, ...]
    machine: dict[str, Any]
    revision: str | None = None

    def settings(self, part: Part) -> dict[str, Any]:
        """What a part runs with: a result with other settings is not kept."""
        return {"network": part.network or self.networks[0], "batches": list(self.batches), **self.machine}


def run_part(part: Part, setup: Setup, *, seconds: float, say: Callable[[str], None]) -> Outcome:
    """Runs a part to its end, or until its time is up; returns what its file says then.

    Args:
        part: the part.
        setup: the report's; what the part prints goes to `parts/NAME.log` in its folder.
        seconds: the time that the part has.
        say: shows a line.
    """
    file = file_of(setup.out, part.name)
    log = file.with_suffix(".log")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    given = {
        "run": part.run,
        "network": part.network,
        "out": str(setup.out),
        "networks": setup.networks,
        "batches": setup.batches,
        "seconds": seconds,
        "settings": setup.settings(part),
    }
    command = [sys.executable, "-m", "benchmarks.gpu.child", part.name, json.dumps(given)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.monotonic()
    with log.open("wb") as output:
        child = Child(command, stdout=output, stderr=output, env={**os.environ, "PYTHONPATH": paths})
        try:
            ended = _wait(child, seconds + GRACE_S, lambda: say(_last_line(log)))
        finally:
            _kill_group(child)
    outcome = read_outcome(file)
    if outcome is None:
        outcome = Outcome(part=part.name, state=State.FAILED, settings=setup.settings(part))
    if not ended:
        outcome.state = State.SHORTENED
        outcome.reason = f"stopped after {seconds + GRACE_S:.0f} s, when its time was up, at: {_last_line(log)}"
    elif child.returncode != 0:
        died = signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit code {child.returncode}"
        outcome.state, outcome.reason = State.FAILED, f"its process died ({died}): {_last_line(log)}"
    outcome.seconds = round(time.monotonic() - start, 1)
    write_outcome(file, outcome)
    return outcome


def _wait(child: Child, seconds: float, speak: Callable[[], None]) -> bool:
    """Waits until the child ends; returns whether it did within its time."""
    start = spoken = time.monotonic()
    while child.poll() is None:
        now = time.monotonic()
        if now - start > seconds:
            return False
        if now - spoken > SPEAK_S - LOOK_S:
            speak()
            spoken = now
        time.sleep(LOOK_S)
    return True


def _kill_group(child: Child) -> None:
    """Ends what is left of the child and of the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_line(log: Path) -> str:
    """The last line that the part printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return printable(lines[-1], breaks=False)[:200] if lines else "nothing printed yet"
