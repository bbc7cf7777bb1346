r"""Measures `score` against a bare loop of Runner over the same images, and compares parts of one and four processes.

    python -m benchmarks.scale.scoring BUNDLE --parquet FILE [--shards 40] [--rounds 7] [--precision int8] [--out FILE]

The images of the parquet file are packed into tar shards. Both loops have an open Runner and open decoding processes,
read the same shards in the same order and in the same batches, and take rounds A B, B A. The bare loop keeps only each
image's best class; `score` also computes probabilities and digests, and writes parts and records. Then one process
scores all shards, and four at a time a quarter each: the parts must be the same files. Exit code 3 if they are not.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from benchmarks.scale.packed import pack_parquet
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.pipeline.scoring.job import ScoreOptions, plan_scores
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.runtime.runner import Runner

COMMAND = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
PROCESSES = 4


def main() -> None:
    """Measures, writes the record, and prints the table last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--parquet", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with scratch_folder() as work:
        images = pack_parquet(given.parquet, work / "shards", given.shards)
        seconds, cpu = _measure(given, work, images)
        same = _compare(given, work)
    ratios = [bare / scored for bare, scored in zip(seconds["bare loop"], seconds["score"], strict=True)]
    record = start_record("scoring", "numpy", "pillow", "pyarrow", "onnxruntime")
    record |= {"bundle": given.bundle.name, "precision": given.precision, "threads": given.threads, "images": images}
    record |= {
        "shards": given.shards,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "throughput_ratios": ratios,
        "identical_parts": same,
    }
    if given.out is not None:
        write_record(given.out, record)
    table = make_table(
        "loop", "min s", "median s", "max images/s", "median CPU s", caption=f"{images} images, {given.shards} shards"
    )
    for name, own in seconds.items():
        table.add_row(
            name,
            f"{min(own):.2f}",
            f"{statistics.median(own):.2f}",
            f"{images / min(own):.0f}",
            f"{statistics.median(cpu[name]):.2f}",
        )
    console = Console(width=100)
    console.print(table)
    best = min(seconds["bare loop"]) / min(seconds["score"])
    console.print(
        f"throughput of score: {best:.1%} of the bare loop by the minima, {statistics.median(ratios):.1%} median"
    )
    console.print(f"parts of 1 and of {PROCESSES} processes: {'identical' if same else 'DIFFERENT'}")
    if not same:
        sys.exit(3)


def _measure(
    given: argparse.Namespace, work: Path, images: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each round of both loops, and CPU seconds of this process: images are decoded in another one."""
    files = sorted((work / "shards").iterdir())
    seconds, cpu = dict[str, list[float]](), dict[str, list[float]]()
    out = (str(work / f"scored-{number}") for number in range(1 + given.rounds))
    bundle = Bundle.open(given.bundle)
    preprocessing = bundle.spec.preprocessing

    def options() -> ScoreOptions:
        return ScoreOptions(
            data=str(work / "shards"), out=next(out), backend="onnxruntime", precision=given.precision,
            threads=given.threads,
        )  # fmt: skip

    with (
        Runner.open(
            given.bundle, backend="onnxruntime", precision=given.precision, threads=given.threads, contexts=1
        ) as runner,
        Decoders(0) as decoders,
    ):

        def bare() -> tuple[float, float]:
            count, start = 0, (time.perf_counter(), time.process_time())
            for file in files:
                source = open_data(str(file), Role.TEST)
                for batch in Batches(source, preprocessing, 64, decoders=decoders):
                    count += len(np.argmax(runner.run(batch.images)["logits"], axis=1))
            assert count == images
            return time.perf_counter() - start[0], time.process_time() - start[1]

        def score() -> tuple[float, float]:
            job = plan_scores(bundle, options())
            with job.open(given.threads) as worker:
                worker.runner.warmup([64])
                start = (time.perf_counter(), time.process_time())
                count = sum(worker.run(shard).images for shard in job.shards)
                took = time.perf_counter() - start[0], time.process_time() - start[1]
            assert count == images
            return took

        loops: dict[str, Callable[[], tuple[float, float]]] = {"bare loop": bare, "score": score}
        for round_number in range(1 + given.rounds):
            for name, run in [*loops.items()] if round_number % 2 else [*loops.items()][::-1]:
                took = run()
                if round_number:  # the first one warms up
                    seconds.setdefault(name, []).append(took[0])
                    cpu.setdefault(name, []).append(took[1])
    return {name: seconds[name] for name in loops}, cpu


def _compare(given: argparse.Namespace, work: Path) -> bool:
    """Whether one process and four at a time write the same parts."""
    digests = []
    for folder, shares in (("one", ["0/1"]), ("four", [f"{index}/{PROCESSES}" for index in range(PROCESSES)])):
        command = [
            sys.executable, "-c", COMMAND, "score", str(given.bundle), "--data", str(work / "shards"), "--out",
            str(work / folder), "--backend", "onnxruntime", "--precision", given.precision, "--threads", "1",
        ]  # fmt: skip
        running = [subprocess.Popen([*command, "--shard", share], stdout=subprocess.DEVNULL) for share in shares]
        if any(process.wait() for process in running):
            sys.exit(f"score failed with --shard {shares}")
        parts = sorted((work / folder).glob("part-*.parquet"))
        digests.append({part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in parts})
    return digests[0] == digests[1] and len(digests[0]) == given.shards


if __name__ == "__main__":
    main()
