"""The score step: runs the shards that the ledger does not have yet, here or on a cluster."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.here import run_here
from wrn_deploy.cluster.work import Engine, Finished
from wrn_deploy.errors import DeployError
from wrn_deploy.formatting import count, first_names
from wrn_deploy.pipeline.scoring.job import ScoreJob, ScoreOptions, plan_scores
from wrn_deploy.progress import Progress

__all__ = ["Scored", "score_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a run has done.

    Attributes:
        out: where the parts are.
        backend: what ran.
        precision: its precision.
        total: shards of the data set.
        share: shards of this process.
        before: shards of these that were done before.
        images: images that were scored now.
        corrupt: names of the images that were left out now.
        damaged: names of the shards that were left out now.
        seconds: time of the run, with opening the bundle.
    """

    out: str
    backend: str
    precision: str
    total: int
    share: int
    before: int
    images: int
    corrupt: tuple[str, ...]
    damaged: tuple[str, ...]
    seconds: float


def score_data(bundle: Bundle, options: ScoreOptions, progress: Progress, engine: Engine = run_here) -> Scored:
    """Scores the shards of the share that are not done yet, each to a part and a record in the ledger.

    What is interrupted or killed goes on with the same call: a shard counts once its record is written, and its part is
    the same whoever writes it, and however often.

    Raises:
        UsageError: options that do not fit; `out` has the parts of another job.
        DeployError: bad data; too many corrupt images or damaged shards.
        MachineError: this machine cannot run it.
        OSError: the disk is full, or a storage cannot be reached.
    """
    job = plan_scores(bundle, options)
    for note in job.found.notes:
        progress.warn(note)
    if bundle.random_weights:
        progress.warn(f"{bundle.folder} has random weights: its scores mean nothing")
    with job.ledger.store.scratch() as scratch:
        job.ledger.start(scratch)
    left = _left(job, progress)
    tally = _Tally(job=job, max_damaged=options.max_damaged)
    start = time.perf_counter()
    if left.shards:
        engine(left, tally.take, progress)
    if tally.corrupt:
        progress.warn(f"left out {count(len(tally.corrupt), 'corrupt image')}: {first_names(tally.corrupt)}")
    if tally.damaged:
        progress.warn(f"left out {count(len(tally.damaged), 'damaged shard')}: {first_names(tally.damaged)}")
    recipe = job.ledger.recipe
    return Scored(
        out=options.out,
        backend=recipe.backend,
        precision=recipe.precision,
        total=len(job.found.shards),
        share=len(job.shards),
        before=len(job.shards) - len(left.shards),
        images=tally.images,
        corrupt=tuple(tally.corrupt),
        damaged=tuple(tally.damaged),
        seconds=time.perf_counter() - start,
    )


def _left(job: ScoreJob, progress: Progress) -> ScoreJob:
    """The job without the shards that are done."""
    own = [job.found.shards[number] for number in job.shards]
    left = []
    for shard, (entry, reason) in zip(own, job.ledger.finished(own), strict=True):
        if entry is None:
            left.append(shard.number)
        if reason:
            progress.warn(f"does shard {shard.number} again: {reason}")
    return dataclasses.replace(job, shards=tuple(left))


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Counts what the engine finishes."""

    job: ScoreJob
    max_damaged: int
    images: int = 0
    corrupt: list[str] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)

    def take(self, finished: Finished) -> None:
        self.images += finished.images
        self.corrupt += finished.corrupt
        if finished.result is None:
            return
        self.damaged.append(self.job.describe(finished.shard))
        if len(self.damaged) > self.max_damaged:
            raise DeployError(
                f"{finished.result.decode('utf-8', 'replace')}; {count(len(self.damaged), 'damaged shard')}, "
                f"{self.max_damaged} allowed: fix or remove them, or allow N with --max-damaged N"
            )
