r"""A million images without images: parts and records of 1,000 shards, the look at the ledger, and the merge.

    python -m benchmarks.scale.million BUNDLE [--shards 10 100 1000] [--images 1000] [--out FILE]

Each number of shards is written, looked at as a resumed run does, and merged, with `--into`, each in a process of its
own, whose peak memory is recorded: it must not grow with the number of shards. The scores are drawn at random; all else
is the code that `score` runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.files.new_file import new_file, write_whole
from wrn_deploy.machine import peak_rss_bytes
from wrn_deploy.pipeline.scoring.job import ScoreJob, ScoreOptions, plan_scores
from wrn_deploy.pipeline.scoring.merge import merge_scores
from wrn_deploy.pipeline.scoring.worker import metadata_of
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent
from wrn_deploy.shards.ledger import Entry
from wrn_deploy.shards.parts import PartShape, PartWriter, Rows

STEPS = ("write", "look", "merge")
STUB_BYTES = b"stub"  # of a shard's file, which is listed and not read


def main() -> None:
    """Measures, writes the record, and prints the table last; or does one step, in a child."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shards", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--images", type=int, default=1000, help="per shard")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    console = Console(width=100)
    if given.step is not None:
        console.file.write(json.dumps(_step(given)))
        return
    found = []
    for shards in given.shards:
        with scratch_folder() as work:
            for number in range(shards):
                write_whole(_made(work / "data") / f"stub-{number:06d}.tar", STUB_BYTES)
            for step in STEPS:
                found.append({"shards": shards, "step": step, **_child(given, work, shards, step)})
                sys.stderr.write(f"{found[-1]}\n")
    record = start_record("score_million", "numpy", "pyarrow")
    record |= {"images_per_shard": given.images, "rows": found}
    if given.out is not None:
        write_record(given.out, record)
    table = make_table("shards", "images", "step", "seconds", "peak MB", "images/s", left=("step",))
    for row in found:
        images, seconds = int(str(row["shards"])) * given.images, float(str(row["seconds"]))
        numbers = (f"{seconds:.2f}", f"{float(str(row['peak_bytes'])) / 1e6:.0f}", f"{images / seconds:.0f}")
        table.add_row(str(row["shards"]), str(images), str(row["step"]), *numbers)
    console.print(table)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _child(given: argparse.Namespace, work: Path, shards: int, step: str) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.scale.million", str(given.bundle), "--shards", str(shards)]
    command += ["--images", str(given.images), "--step", step, "--work", str(work)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def _step(given: argparse.Namespace) -> dict[str, object]:
    options = ScoreOptions(data=str(given.work / "data"), out=str(given.work / "out"), backend="onnxruntime")
    bundle, start = Bundle.open(given.bundle), time.perf_counter()
    if given.step == "write":
        _write_parts(plan_scores(bundle, options), given.images, bundle.spec.classes)
    elif given.step == "look":
        job = plan_scores(bundle, options)
        done = sum(entry is not None for entry, _ in job.ledger.finished(job.found.shards))
        assert done == len(job.found.shards)
    else:
        summary = merge_scores(bundle, options, Silent(), given.work / "all.parquet")
        assert summary.images == given.images * summary.shards
    return {"seconds": round(time.perf_counter() - start, 3), "peak_bytes": peak_rss_bytes()}


def _write_parts(job: ScoreJob, images: int, classes: int) -> None:
    recipe, generator = job.ledger.recipe, np.random.default_rng(0)
    scores = generator.random((images, recipe.top_k), np.float32)
    best = generator.integers(0, classes, (images, recipe.top_k))
    with job.ledger.store.scratch() as scratch:
        job.ledger.start(scratch)
        for shard in job.found.shards:
            ids = [f"{shard.name}/{index:06d}.jpg" for index in range(images)]
            labels = generator.integers(0, classes, images)
            rows = Rows(ids=ids, source=shard.name, labels=labels, classes=best, scores=scores)
            metadata = metadata_of(recipe, shard)
            with (
                new_file(scratch / "part") as stream,
                PartWriter(stream, PartShape(top_k=recipe.top_k), metadata) as part,
            ):
                part.add(rows)
            entry = Entry(
                recipe=recipe.digest, shard=shard.number, name=shard.name, source_bytes=shard.size_bytes, images=images,
                corrupt=(), data=f"{shard.number:064x}", sha256=part.sha256, size_bytes=part.size_bytes, damaged="",
                machine="stub", seconds=0.0,
            )  # fmt: skip
            job.ledger.add(entry, scratch / "part", scratch)


if __name__ == "__main__":
    main()
