r"""Kills `score` at random moments and starts it again: the parts must be those of an unbroken run, bit for bit.

    python -m benchmarks.scale.kills BUNDLE --parquet FILE [--kills 20] [--shards 40] [--seed 0] [--out FILE]

Every start is killed (SIGKILL) at a moment drawn from the time of a whole run, until there are that many kills; if all
shards are done in between, the next kill begins with an empty folder. After each kill each record must have its part.
Each folder is completed, merged and compared with the unbroken run. Exit code 3 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from benchmarks.scale.packed import pack_parquet
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile
from wrn_deploy.pipeline.scoring.job import ScoreOptions, plan_scores
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.shards.ledger import part_name

COMMAND = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


def main() -> None:
    """Kills, compares, writes the record, and prints the table last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--parquet", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chance = random.Random(given.seed)  # noqa: S311 (nothing secret)
    with scratch_folder() as work:
        pack_parquet(given.parquet, work / "shards", given.shards)
        start = time.monotonic()
        _run(given, work, "unbroken")
        whole_s = time.monotonic() - start
        wanted, kills, wrong, rounds = _digests(work / "unbroken"), list[int](), list[str](), 0
        while len(kills) < given.kills:
            rounds += 1
            folder = f"killed-{rounds}"
            while len(kills) < given.kills and _kill(given, work, folder, chance.uniform(0.5, whole_s)):
                kills.append(_intact(given, work / folder, work / "shards", wrong))
                sys.stderr.write(f"kill {len(kills)}: {kills[-1]} of {given.shards} shards recorded\n")
            _run(given, work, folder)
            _run(given, work, folder, "--merge")
            left = [path.name for path in (work / folder).glob(".*")]
            wrong += [f"{folder}: {name} is left" for name in left]
            if _digests(work / folder) != wanted:
                wrong.append(f"{folder}: other parts than the unbroken run")
            shutil.rmtree(work / folder)
    record = start_record("score_kills", "numpy", "pillow", "pyarrow", "onnxruntime")
    record |= {"kills": len(kills), "rounds": rounds, "shards": given.shards, "seed": given.seed}
    record |= {"recorded_after_each_kill": kills, "wrong": wrong, "seconds_unbroken": round(whole_s, 2)}
    if given.out is not None:
        write_record(given.out, record)
    table = make_table("kills", "runs compared", "shards recorded at a kill", "wrong")
    table.add_row(str(len(kills)), str(rounds), f"{min(kills)} to {max(kills)} of {given.shards}", str(len(wrong)))
    console = Console(width=100)
    console.print(table)
    for text in wrong:
        console.print(text, markup=False)
    if wrong:
        sys.exit(3)


def _command(given: argparse.Namespace, work: Path, folder: str, *more: str) -> list[str]:
    return [
        sys.executable, "-c", COMMAND, "score", str(given.bundle), "--data", str(work / "shards"), "--out",
        str(work / folder), "--backend", "onnxruntime", "--threads", "1", *more,
    ]  # fmt: skip


def _run(given: argparse.Namespace, work: Path, folder: str, *more: str) -> None:
    done = subprocess.run(_command(given, work, folder, *more), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"score ended with {done.returncode}: {done.stderr[-500:]}")


def _kill(given: argparse.Namespace, work: Path, folder: str, seconds: float) -> bool:
    """Starts the command and kills it after this time; whether it had not ended before."""
    command = _command(given, work, folder)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def _intact(given: argparse.Namespace, out: Path, data: Path, wrong: list[str]) -> int:
    """How many shards are recorded; adds each record without its part to `wrong`."""
    options = ScoreOptions(data=str(data), out=str(out), backend="onnxruntime", threads=1)
    job = plan_scores(Bundle.open(given.bundle), options)
    names = job.ledger.store.names()
    numbers = job.ledger.numbers(names)
    for number in numbers:
        try:
            job.ledger.check_part(job.ledger.read(job.found.shards[number], names), out / part_name(number))
        except (DamagedFile, OSError) as error:
            wrong.append(f"{out.name}: {error}")
    return len(numbers)


def _digests(out: Path) -> dict[str, str]:
    return {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in sorted(out.glob("part-*.parquet"))}


if __name__ == "__main__":
    main()
