"""The builder's own progress, as a fraction of the whole; and an interrupt, which cancels the build."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

__all__ = ["PER_CENT", "BuildProgress", "make_monitor", "run_cancellable"]

PER_CENT = 100


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """The phases of a build, which nest, as one fraction; safe for several threads, as the builder's callbacks must be.

    A phase counts as one step of the phase that it is in. The fraction never falls: phases can be announced late.

    Args:
        advance: called with the percent done since the last call.
    """

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._open: dict[str, _Phase] = {}
        self._reported = 0
        self._lock = threading.Lock()
        self._cancelled = False

    def cancel(self) -> None:
        """Ends the build at its next step."""
        self._cancelled = True

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of `steps` steps begins."""
        with self._lock:
            self._open[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str) -> bool:
        """A step of a phase is done; returns False to cancel the build."""
        with self._lock:
            phase = self._open.get(name)
            if phase is not None:
                phase.done = min(phase.done + 1, phase.steps)
            self._report()
        return not self._cancelled

    def finish(self, name: str) -> None:
        """A phase ends, whether or not all its steps were reported."""
        with self._lock:
            phase = self._open.pop(name, None)
            if phase is not None and phase.parent is None and not self._cancelled:
                self._report(PER_CENT)

    def _report(self, percent: int | None = None) -> None:
        roots = [name for name, phase in self._open.items() if phase.parent is None]
        now = percent if percent is not None else int(PER_CENT * max(map(self._fraction, roots), default=0.0))
        if now > self._reported:
            self._advance(now - self._reported)
            self._reported = now

    def _fraction(self, name: str) -> float:
        phase = self._open[name]
        inside = sum(self._fraction(other) for other, child in self._open.items() if child.parent == name)
        return min(1.0, (phase.done + min(inside, 1.0)) / phase.steps)


def make_monitor(module: Any, build: BuildProgress) -> Any:
    """A progress monitor of TensorRT's `module` that reports to `build`."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # the base class is known only at run time
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            build.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            del step  # they are reported in order
            return build.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            build.finish(phase_name)

    return Monitor()


def run_cancellable(work: Callable[[], bytes | None], cancel: Callable[[], None]) -> bytes | None:
    """Runs `work` on a thread of its own, so that Ctrl-C reaches this one; then `cancel` is called and the work ends.

    On the thread that is inside of the builder a signal would wait until the builder is done. A second Ctrl-C no longer
    waits for the builder's next step.
    """
    outcome: Future[bytes | None] = Future()  # Python 3.11 takes a thread whose `join` was interrupted for ended

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised again on the caller's thread)
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="build", daemon=True)
    try:
        thread.start()
        return outcome.result()
    except KeyboardInterrupt:
        cancel()
        if thread.ident is not None:  # it runs
            wait([outcome])
        raise
