"""The tests that need a GPU, and of them those of full TensorRT's plans."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.gpu.outcome import file_of, read_outcome
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.errors import DeployError
from wrn_deploy.process.children import Child

__all__ = ["record", "run_gpu_tests", "run_plan_tests"]

ROOT = Path(__file__).resolve().parents[3]
MARKER = "mark.gpu"
PLANS = "tests/backends/plan/test_plan_gpu.py"
STOP_S = 2.0  # kept to read what was done
RESULT = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b")
REASON = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?) - (.*)")


def run_gpu_tests(task: Task) -> None:
    """All of `make test-gpu`, from the files that have the marker: reading all others would take a minute."""
    files = (file.relative_to(ROOT) for file in sorted((ROOT / "tests").rglob("test_*.py")))
    _run(task, *(str(file) for file in files if MARKER in (ROOT / file).read_text(encoding="utf-8")))


def run_plan_tests(task: Task) -> None:
    """Full TensorRT's plans alone, up to the first failure; skipped if all tests came to their end before."""
    before = read_outcome(file_of(task.out, "gpu-tests"))
    if before is not None and before.raw.get("ended"):
        states = {name: state for name, state in before.raw["tests"].items() if name.startswith(PLANS)}
        counted = ", ".join(f"{number} {state.lower()}" for state, number in Counter(states.values()).items())
        raise Skip(f"they are among the tests above; finished: {counted or 'none'}")
    _run(task, PLANS, "-k", "tensorrt and not rtx", "-x")


def _run(task: Task, *arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider", "-m", "gpu", *arguments]
    task.keep("command", " ".join(["python", *command[1:]]))
    log, said = task.out / "parts" / f"{task.outcome.part}-pytest.log", ""
    wide = {**os.environ, "COLUMNS": "300"}  # else pytest shortens the reasons of failures
    with (
        log.open("wb") as output,
        contextlib.chdir(ROOT),
        Child(command, stdout=output, stderr=output, env=wide) as child,
    ):
        while child.poll() is None and task.left_s > STOP_S:
            time.sleep(0.2)
            last = next((line for line in reversed(_lines(log)) if line.strip()), "")
            if last != said:
                said = last
                task.note(last)
        ended = child.poll() is not None
        if not ended:
            child.kill()
    record(task, _lines(log), code=child.returncode, ended=ended)


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def record(task: Task, lines: list[str], *, code: int, ended: bool) -> None:
    """Records what pytest printed, and raises if it did not end well."""
    tests = {match[1]: match[2] for line in lines if (match := RESULT.match(line))}
    reasons = {match[1]: match[2] for line in lines if (match := REASON.match(line))}
    task.keep("tests", tests)
    task.keep("ended", ended and code in (0, 1, 5))
    task.keep("reasons", reasons)
    counted = Counter(tests.values())
    failed = [name for name, state in tests.items() if state in ("FAILED", "ERROR")]
    text = ", ".join(f"{number} {state.lower()}" for state, number in counted.items()) or "no test finished"
    right = bool(counted["PASSED"]) and not failed
    task.found(text, right=right if right or failed or ended else None)
    for name in failed:
        task.found(f"{name}: {reasons.get(name, 'see the log')}", right=False)
    if not ended:
        raise OutOfTime(f"stopped when its time was up: {text}")
    if code not in (0, 1):
        last = next((line for line in reversed(lines) if line.strip()), "")
        raise (Skip if code == 5 else DeployError)(f"pytest ended with {code}: {last}")
    if failed:
        raise DeployError(f"{len(failed)} of {len(tests)} tests failed")
