r"""Kills commands at random moments and looks at what they leave: the bundle, processes, temporary folders.

    python -m benchmarks.reliability.random_kills [--kills 200] [--together 5] [--commands train export ...] \
        [--seed 0] [--out FILE]

`train`, `export`, `calibrate`, `build-engine` and `bench` take turns, with decoding processes where a command has them.
Each has its own small bundle and its own TMPDIR. SIGKILL reaches the command's first process alone, at a moment drawn
from the time that the whole command takes. Right is:

- after each kill: every artifact is the file that the manifest describes, and those that changed fit together; no file
  of a training run is a part of one;
- 2 seconds after each kill: no process of the command is left;
- after each `--together` kills and one command that ends by itself: nothing is left in TMPDIR, and nothing unfinished
  in the bundle or beside the reports. PyTorch's cache of compiled code, which it keeps there on purpose, is elsewhere.

The program ends with code 3 if anything is wrong. Linux only: processes are found by a mark in their environment.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle, sha256_of
from wrn_deploy.errors import DeployError
from wrn_deploy.process.scratch import scratch_folder

COMMAND = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
COMMANDS = ("train", "export", "calibrate", "build-engine", "bench")  # the fourth needs TensorRT-RTX
MARK = "WRN_DEPLOY_KILLED"
PROMISED_S = 2.0  # after which no process may be left
PATIENCE_S = 30.0  # and after which one that is left is ended here
UNFINISHED = (".commit", ".staging-*", ".reports-*", "*.tmp", "*scratch-*")
MODEL = ("wrn-10-1", "--random-weights")


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was found about one command."""

    seconds: float = 0.0
    kills: int = 0
    ended_before: int = 0
    bundles: Counter[str] = field(default_factory=Counter)
    processes_at_kill: int = 0
    longest_s: float = 0.0
    orphans: list[str] = field(default_factory=list)
    left_between: int = 0
    left_after: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether something was found that must not be."""
        return bool(self.orphans or self.left_after or set(self.bundles) - {"as before", "complete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A command's own folders; `run` draws new options, so that no step is skipped as done already."""

    name: str
    folder: Path

    @property
    def bundle(self) -> Path:
        """The bundle that it changes."""
        return self.folder / "bundle"

    @property
    def temporary(self) -> Path:
        """Its TMPDIR."""
        return self.folder / "tmp"

    def command(self, number: int) -> list[str]:
        """The command, with options that make it do something else than the one before."""
        bundle, seed = str(self.bundle), str(number)
        data = ("digits", "--workers", "2")
        options: Mapping[str, tuple[str, ...]] = {
            "train": (MODEL[0], "--recipe", "one-cycle", "--epochs", "2", "--seed", seed, "--data", *data,
                      "--out", str(self.folder / "run")),
            "export": (*MODEL, "--seed", seed, "--out", bundle),
            "calibrate": (bundle, "--calib-data", *data, "--calib-size", str(4 + number % 29),
                          "--rounding", "nearest"),
            "build-engine": (bundle, "--int8", "--rebuild"),
            "bench": (bundle, "--data", *data, "--limit", "100", "--rounds", "2", "--duration", "0.1",
                      "--backend", "onnxruntime", "--no-pictures",
                      "--out", str(self.folder / "reports")),
        }  # fmt: skip
        return [sys.executable, "-c", COMMAND, self.name, *options[self.name]]

    def environment(self) -> dict[str, str]:
        """This process's, with the mark and the TMPDIR."""
        own = {"TMPDIR": str(self.temporary), "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "cache")}
        return {**os.environ, **own, MARK: str(self.folder)}

    def state(self) -> dict[str, str]:
        """The digest of each artifact.

        Raises:
            DeployError: an artifact is not whole, or a file of a training run is not.
        """
        bundle = Bundle.open(self.bundle)
        found = {}
        for artifact in bundle.artifacts.values():
            found[artifact.key] = sha256_of(bundle.file(artifact))
            if found[artifact.key] != artifact.sha256:
                raise DeployError(f"{artifact.path} is not the file that the manifest describes")
        for file in self.run_files():
            _check_run_file(file)
        return found

    def run_files(self) -> list[Path]:
        """The files of the training run, but for hidden ones, which are unfinished."""
        return sorted((self.folder / "run").glob("[!.]*"))

    def start_anew(self) -> None:
        """Removes the training run's files, as `train` asks for; what a killed one has left unfinished stays."""
        for file in self.run_files():
            file.unlink()

    def unfinished(self) -> list[str]:
        """What a killed command may have left: all of TMPDIR, and unfinished files elsewhere."""
        left = [*self.temporary.iterdir(), *(path for name in UNFINISHED for path in self.folder.rglob(name))]
        return sorted({str(path.relative_to(self.folder)) for path in left})


def main() -> None:
    """Kills, looks, writes the record, and prints the table last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--together", type=int, default=5, help="kills before the command that ends by itself")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chance = random.Random(given.seed)  # noqa: S311 (nothing secret)
    console = Console(width=150)
    with scratch_folder() as work:
        places = _prepare(work, given.commands)
        tallies = {name: Tally(seconds=_finish(place, 0)) for name, place in places.items()}
        number = 1
        while sum(tally.kills for tally in tallies.values()) < given.kills:
            for name, place in places.items():
                for _ in range(given.together):
                    _kill(place, tallies[name], number, chance)
                    number += 1
                tallies[name].left_between += len(place.unfinished())
                tallies[name].seconds = min(tallies[name].seconds, _finish(place, number))
                number += 1
                tallies[name].left_after += place.unfinished()
                sys.stderr.write(f"{number} commands; {name}: {tallies[name]}\n")
    _report(tallies, given, console)
    if any(tally.wrong for tally in tallies.values()):
        sys.exit(3)


def _prepare(work: Path, names: list[str]) -> dict[str, Place]:
    """A calibrated bundle, copied for each command."""
    first = work / "first"
    calibrate = ("calibrate", str(first), "--calib-data", "digits", "--calib-size", "16", "--rounding", "nearest")
    for arguments in (("export", *MODEL, "--out", str(first)), calibrate):
        subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
    places = {name: Place(name=name, folder=work / name) for name in names}
    for place in places.values():
        place.temporary.mkdir(parents=True)
        shutil.copytree(first, place.bundle)
    return places


def _finish(place: Place, number: int) -> float:
    """Runs the command to its end; returns the seconds that it took."""
    start = time.monotonic()
    place.start_anew()
    done = subprocess.run(place.command(number), env=place.environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{place.name} ended with {done.returncode}: {done.stderr[-500:]}")
    return time.monotonic() - start


def _kill(place: Place, tally: Tally, number: int, chance: random.Random) -> None:
    """Starts the command, kills it at a random moment, and looks."""
    place.start_anew()
    before = place.state()
    process = subprocess.Popen(
        place.command(number), env=place.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    start = time.monotonic()
    try:
        process.wait(chance.uniform(0, tally.seconds))
        if process.returncode:
            sys.exit(f"{place.name} ended with {process.returncode}")
        tally.seconds = min(tally.seconds, time.monotonic() - start)
    except subprocess.TimeoutExpired:
        pass
    running, ended = _marked(place), process.returncode is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    while (left := _marked(place)) and time.monotonic() - killed < PATIENCE_S:
        time.sleep(0.005)
    took = time.monotonic() - killed
    tally.kills, tally.ended_before = tally.kills + (not ended), tally.ended_before + ended
    tally.processes_at_kill = max(tally.processes_at_kill, len(running))
    tally.longest_s = max(tally.longest_s, round(took, 3))
    if took > PROMISED_S:
        tally.orphans.append(f"{took:.1f} s: {', '.join(running.get(one, '?') for one in running)}")
    for one in left:
        os.kill(one, signal.SIGKILL)
    tally.bundles[_outcome(place, before)] += 1


def _outcome(place: Place, before: Mapping[str, str]) -> str:
    try:
        after = place.state()
    except (DeployError, OSError, ValueError) as error:
        return f"broken: {error}"
    if after == before:
        return "as before"
    artifacts = Bundle.open(place.bundle).artifacts
    changed = [artifact for artifact in artifacts.values() if after[artifact.key] != before.get(artifact.key)]
    unfit = [
        made.key for made in changed for parent, digest in made.recipe.parents.items() if after.get(parent) != digest
    ]
    return f"mixed: {', '.join(unfit)}" if unfit else "complete"


def _check_run_file(file: Path) -> None:
    """Raises DeployError or ValueError for a file of a training run that is not whole."""
    if file.suffix == ".json":
        json.loads(file.read_text(encoding="utf-8"))
    elif file.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="numpy") as opened:
                opened.metadata()
        except SafetensorError as error:
            raise DeployError(f"{file.name} is damaged ({error})") from error


def _marked(place: Place) -> dict[int, str]:
    """The living processes that were started with the mark of this place, and their command lines' starts."""
    found, mark = {}, f"{MARK}={place.folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:150]
        except OSError:  # it has ended, or is another user's
            continue
    return found


def _report(tallies: Mapping[str, Tally], given: argparse.Namespace, console: Console) -> None:
    record: dict[str, Any] = start_record("random_kills", "torch", "onnxruntime", "tensorrt-rtx")
    record |= {"kills": given.kills, "together": given.together, "seed": given.seed}
    # not asdict, which cannot copy a Counter
    record["commands"] = {
        name: {each.name: getattr(tally, each.name) for each in fields(tally)} for name, tally in tallies.items()
    }
    if given.out is not None:
        write_record(given.out, record)
    table = make_table(
        "command", "seconds", "killed", "ended before", "bundle", "processes", "gone after", "orphans", "left", "after",
        left=("bundle",),
    )  # fmt: skip
    for name, tally in tallies.items():
        ends = ", ".join(f"{count} {end}" for end, count in tally.bundles.most_common())
        counts = (tally.processes_at_kill, f"{tally.longest_s:.2f} s", len(tally.orphans), tally.left_between)
        table.add_row(
            name, f"{tally.seconds:.1f}", str(tally.kills), str(tally.ended_before), ends, *map(str, counts),
            str(len(tally.left_after)),
        )  # fmt: skip
    console.print(table)
    for name, tally in tallies.items():
        for text in (*tally.orphans, *tally.left_after):
            console.print(f"{name}: {text}", markup=False)


if __name__ == "__main__":
    main()
