r"""Everything that a day with a GPU should answer, in one command and under 12 minutes.

    python -m benchmarks.gpu.report [--out gpu-report] [--minutes 12] [--networks wrn-50-2 wrn-101-2 wrn-28-10] \
        [--batches 1 16 64 256] [--only PART ...] [--again PART ...]

The parts run in a fixed order, the most valuable first, each in a process of its own: `--list` names them. A part
that crashes or hangs is a result, and the next one runs. When time runs out, parts are shortened or skipped, and the
report says so. Each part's result is a JSON file in OUT/parts; the next call with the same --out keeps what came to
its end and runs the rest, `--again PART` runs a part again ("failed": all that failed).

OUT gets `report.html`, and `gpu-NAME.json` with all raw numbers, for benchmarks/results. What needs no GPU (exports,
calibration) is made beforehand on any machine by `python -m benchmarks.gpu.prepare`; otherwise it is made here.

Without a GPU the program ends with code 4. On the tests' stand-in for the driver it runs to its end; its numbers are
then marked as none of a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.gpu.outcome import Outcome, State, file_of, read_outcome, write_outcome
from benchmarks.gpu.page import write_page
from benchmarks.gpu.parts import TOTAL_S, Part, list_parts
from benchmarks.gpu.prepare import NETWORKS, require_gpu
from benchmarks.gpu.stand_in import STAND_IN, is_stand_in
from benchmarks.gpu.supervise import Setup, run_part
from benchmarks.output import start_record, write_record
from wrn_deploy.bench.measuring.watch import git_revision
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import find_gpu

BATCHES = (1, 16, 64, 256)
PAGE_S = 10.0  # kept for the page
LEAST_S = 8.0  # a part with less time than this, of a report of TOTAL_S, is not started
FAILED = "failed"  # for --again
PACKAGES = (
    "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-cu13", "tensorrt-rtx-cu13", "pycuda",
    "cuda-bindings", "nvidia-ml-py", "nvidia-cudnn-cu13", "nvidia-cublas", "numpy",
)  # fmt: skip


def main() -> None:
    """Runs the parts and writes the page and the record after each; the exit code is 1 if a part failed."""
    given = _arguments()
    if given.list:
        for part in list_parts(given.networks):
            _print(f"{part.name}: {part.title} (at most {part.limit_s * given.minutes * 60 / TOTAL_S:.0f} s)")
        return
    require_gpu()
    setup = _setup(given)
    parts, start = list_parts(given.networks), time.monotonic()
    outcomes = {part.name: kept for part in parts if (kept := _kept(part, setup)) is not None}
    try:
        _run(given, setup, parts, outcomes, start)
    except KeyboardInterrupt:
        _print(f"stopped: call again with the same --out to run what is left of {setup.out}")
        sys.exit(130)
    states = [outcome.state for outcome in outcomes.values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
    _print(f"{counted} in {_clock(time.monotonic() - start)}: {setup.out / 'report.html'}")
    if State.FAILED in states:
        sys.exit(DeployError.exit_code)


def _run(
    given: argparse.Namespace, setup: Setup, parts: Sequence[Part], outcomes: dict[str, Outcome], start: float
) -> None:
    """Runs the chosen parts; adds each outcome, and writes what is known after it."""
    for number, part in enumerate(parts, 1):
        if given.only and part.name not in given.only:
            continue
        say = partial(_say, f"{number}/{len(parts)} {part.name}", start)
        left = given.minutes * 60 - PAGE_S - (time.monotonic() - start)
        outcomes[part.name] = _one(part, setup, given, left=left, kept=outcomes.get(part.name), say=say)
        _write(setup, parts, outcomes, time.monotonic() - start)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-report"))
    parser.add_argument("--minutes", type=float, default=TOTAL_S / 60, help="time of the whole report")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="the most important first")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--only", nargs="+", metavar="PART", default=[], help="run only these parts")
    parser.add_argument(
        "--again", nargs="+", metavar="PART", default=[], help=f"run these again; {FAILED}: all that failed"
    )
    parser.add_argument("--list", action="store_true", help="list the parts")
    given = parser.parse_args()
    known = [part.name for part in list_parts(given.networks)]
    unknown = [name for name in [*given.only, *given.again] if name not in (*known, FAILED)]
    if unknown:
        parser.error(f"no part {unknown[0]!r}: expected one of {', '.join(known)}")
    if given.minutes <= 0 or min(given.batches) < 1 or len(set(given.batches)) != len(given.batches):
        parser.error("expected --minutes above 0 and different --batches from 1")
    given.batches.sort()
    return given


def _setup(given: argparse.Namespace) -> Setup:
    gpu = find_gpu()
    assert gpu is not None
    given.out.mkdir(parents=True, exist_ok=True)
    machine = {"gpu": gpu.name, "driver": gpu.driver, "stand_in": STAND_IN if is_stand_in() else None}
    return Setup(
        out=given.out.resolve(),
        networks=tuple(given.networks),
        batches=tuple(given.batches),
        machine=machine,
        revision=git_revision(),
    )


def _kept(part: Part, setup: Setup) -> Outcome | None:
    """What an earlier call with the same settings found on this GPU."""
    found = read_outcome(file_of(setup.out, part.name))
    return found if found is not None and found.settings == setup.settings(part) else None


def _one(
    part: Part,
    setup: Setup,
    given: argparse.Namespace,
    *,
    left: float,
    kept: Outcome | None,
    say: Callable[[str], None],
) -> Outcome:
    """A part's outcome: an earlier one if it is finished, else what running it gives in the time that is left."""
    again = part.name in given.again or (FAILED in given.again and kept is not None and kept.state is State.FAILED)
    scale = given.minutes * 60 / TOTAL_S
    if kept is not None and not again and (kept.finished or left < LEAST_S * scale):
        say(f"kept from an earlier call: {kept.state}")
        return kept
    if left < LEAST_S * scale:
        reason = "no time was left: call again with the same --out, which keeps what is done"
        outcome = Outcome(part=part.name, state=State.SKIPPED, reason=reason, settings=setup.settings(part))
        write_outcome(file_of(setup.out, part.name), outcome)
    else:
        seconds = min(part.limit_s * scale, left)
        say(f"{part.title} (at most {seconds:.0f} s)")
        outcome = run_part(part, setup, seconds=seconds, say=say)
    say(f"{outcome.state} in {outcome.seconds:.0f} s{f': {outcome.reason}' if outcome.reason else ''}")
    return outcome


def _write(setup: Setup, parts: Sequence[Part], outcomes: Mapping[str, Outcome], seconds: float) -> None:
    """Writes the record and the page of what is known so far; a page that cannot be written ends nothing."""
    record = {
        **start_record("gpu-report", *PACKAGES),
        "git_revision": setup.revision,
        "stand_in": setup.machine["stand_in"],
        "networks": setup.networks,
        "batches": setup.batches,
        "seconds": round(seconds, 1),
        "parts": [dataclasses.asdict(outcomes[part.name]) for part in parts if part.name in outcomes],
    }
    name = "stand-in" if record["stand_in"] else re.sub(r"[^a-z0-9]+", "-", setup.machine["gpu"].lower()).strip("-")
    write_record(setup.out / f"gpu-{name}.json", record)
    try:
        write_page(setup.out / "report.html", record, parts, outcomes)
    except Exception:  # noqa: BLE001 (the numbers are worth more than the page)
        traceback.print_exc()


def _say(about: str, start: float, text: str) -> None:
    _print(f"[{_clock(time.monotonic() - start)}] {about}: {text}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
