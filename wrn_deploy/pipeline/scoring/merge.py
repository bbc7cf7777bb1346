"""The merge of scores: checks that every shard is there once and unchanged, sums up, and joins the parts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from wrn_deploy.bundle import Bundle
from wrn_deploy.data.corrupt import count_allowed
from wrn_deploy.errors import DamagedFile, GateError, UsageError
from wrn_deploy.files.new_file import new_file, write_whole
from wrn_deploy.formatting import count, first_names
from wrn_deploy.pipeline.scoring.job import ScoreJob, ScoreOptions, plan_scores
from wrn_deploy.pipeline.scoring.summary import MergedFile, Summary, Sums
from wrn_deploy.pipeline.scoring.worker import metadata_of
from wrn_deploy.progress import Progress
from wrn_deploy.shards.address import SCHEMES
from wrn_deploy.shards.joined import Joined
from wrn_deploy.shards.ledger import Entry, entry_name, part_name
from wrn_deploy.shards.parts import open_part

__all__ = ["SUMMARY", "merge_scores"]

SUMMARY = "summary.json"
SHOWN = 5  # problems in an error
AGAIN = "run `wrn-deploy score` again without --merge"


def merge_scores(bundle: Bundle, options: ScoreOptions, progress: Progress, into: Path | None = None) -> Summary:
    """Checks all parts in `options.out`, and writes summary.json beside them, and all scores to the file `into`.

    Raises:
        GateError: a shard is missing, doubled, of another job, changed or damaged; or more images are corrupt, or more
            shards damaged, than are allowed.
        UsageError: `out` has the parts of another job: another bundle, data or options; or `into` is an address.
        DeployError: the data cannot be listed.
    """
    if into is not None and into.parts and into.parts[0].removesuffix(":") in SCHEMES and into.parts[0][-1] == ":":
        raise UsageError(f"--into {into}: expected a file on this machine; copy it to the storage afterwards")
    job = plan_scores(bundle, options)
    store = job.ledger.store
    if not job.ledger.check_recipe():
        raise GateError(f"{options.out} has no scores: expected a folder that `wrn-deploy score` has written")
    sums = Sums(classes=np.zeros(bundle.spec.classes, np.int64))
    with store.scratch() as scratch:
        joined = _check_parts(job, sums, scratch, progress, into)
        merged = None
        if into is not None and joined is not None:
            merged = MergedFile(path=str(into), sha256=joined.sha256, size_bytes=joined.size_bytes)
        summary = sums.summarise(bundle.spec, job.ledger.recipe, random_weights=bundle.random_weights, merged=merged)
        write_whole(scratch / SUMMARY, json.dumps(dataclasses.asdict(summary), indent=1) + "\n")
        store.put(scratch / SUMMARY, SUMMARY)
    for one, other in sums.twins[:SHOWN]:
        progress.warn(f"{one} and {other} have the same images: these are counted twice")
    if len(summary.machines) > 1:
        progress.warn(
            f"the shards ran on {len(summary.machines)} kinds of machine ({first_names([*summary.machines])}): the "
            "last bits of their scores may depend on it"
        )
    return summary


def _check_parts(job: ScoreJob, sums: Sums, scratch: Path, progress: Progress, into: Path | None) -> Joined | None:
    """Checks and counts all parts; returns the file that they were joined to."""
    names, problems = job.ledger.store.names(), list[str]()
    _check_numbers(job, names)
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress.task("Checking the parts", len(job.found.shards)))
        joined = None if into is None else stack.enter_context(_join(into, job))
        for shard in job.found.shards:
            try:
                entry = job.ledger.read(shard, names)
                if not entry.damaged:
                    _add_part(job, entry, scratch, sums, joined)
                sums.add(entry, lambda number: job.found.shards[number].name)
            except DamagedFile as error:
                problems.append(str(error))
            advance(1)
        _check_all(problems, job, sums)
    return joined


def _check_numbers(job: ScoreJob, names: Mapping[str, int]) -> None:
    """Checks by the names alone that each shard has one record, and that there are no others."""
    there = set(job.ledger.numbers(names))
    wanted = set(range(len(job.found.shards)))
    missing, foreign = sorted(wanted - there), sorted(there - wanted)
    if missing:
        lacks = f"{job.options.out} lacks {len(missing)} of {count(len(wanted), 'shard')}"
        raise GateError(f"{lacks}: {_some([job.describe(number) for number in missing])}; {AGAIN}")
    if foreign:
        raise GateError(
            f"{job.options.out} has {entry_name(foreign[0])}, and the data has only {count(len(wanted), 'shard')}: "
            "remove it, or choose another --out"
        )


def _check_all(problems: Sequence[str], job: ScoreJob, sums: Sums) -> None:
    out, options = job.options.out, job.options
    if problems:
        raise GateError(f"{out}: {count(len(problems), 'shard')} cannot be used: {_some(problems)}; {AGAIN}")
    if len(sums.damaged) > options.max_damaged:
        raise GateError(
            f"{out}: {count(len(sums.damaged), 'damaged shard')}, {options.max_damaged} allowed "
            f"({first_names(sums.damaged)}): fix them and score again, or allow N with --max-damaged N"
        )
    allowed = count_allowed(options.max_corrupt, sums.images + sums.corrupt)
    if sums.corrupt > allowed:
        raise GateError(
            f"{out}: {count(sums.corrupt, 'corrupt image')}, {allowed} allowed in total "
            f"({first_names(sums.corrupt_names)}): raise --max-corrupt, or remove them from the data"
        )


def _some(texts: Sequence[str]) -> str:
    return "; ".join(texts[:SHOWN]) + ("; ..." if len(texts) > SHOWN else "")


def _add_part(job: ScoreJob, entry: Entry, scratch: Path, sums: Sums, joined: Joined | None) -> None:
    """Checks a part against its record, counts its classes, and joins it to the others."""
    ledger, name, shard = job.ledger, part_name(entry.shard), job.found.shards[entry.shard]
    file = ledger.store.fetch(name, scratch)
    try:
        ledger.check_part(entry, file)
        with open_part(file) as part:
            about = {key.decode(): value.decode() for key, value in (part.schema_arrow.metadata or {}).items()}
            if not metadata_of(ledger.recipe, shard).items() <= about.items():
                raise DamagedFile(f"{name} is the part of another shard or job, as its schema says")
            if part.metadata.num_rows != entry.images:
                raise DamagedFile(f"{name} has {part.metadata.num_rows} rows: expected {entry.images}")
            for batch in part.iter_batches(columns=["label", "classes"], use_threads=False):
                sums.count(batch)
            if joined is not None:
                joined.add(part)
    finally:
        if not ledger.store.is_local:
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _join(into: Path, job: ScoreJob) -> Iterator[Joined]:
    with new_file(into) as stream, Joined(stream, {"wrn-deploy.recipe": job.ledger.recipe.to_text()}) as joined:
        yield joined
