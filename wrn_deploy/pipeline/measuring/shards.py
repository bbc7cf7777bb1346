"""Accuracy in shards: one machine answers some of the images, and a merge makes the report that one pass would make."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.measuring.answered import AnswerRecord, answers_from, merge_answers
from wrn_deploy.bench.report.report import Report, Row, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.data.containers.array_file import Array, pack_arrays, read_arrays, read_record
from wrn_deploy.data.corrupt import count_allowed
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.shard_set import ShardHeader, ShardResult, check_shards, find_shard_files, shard_file
from wrn_deploy.errors import DamagedFile, DeployError, StaleArtifact, UsageError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.record import from_record
from wrn_deploy.files.room import check_writable
from wrn_deploy.machine import Machine, describe_machine, processor_type
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.measuring.measure import (
    MeasureOptions,
    check_measured,
    examine_candidates,
    open_labelled,
    settings_of,
    start_all,
    versions,
)
from wrn_deploy.pipeline.measuring.measured import Measured, gather, report_of
from wrn_deploy.pipeline.measuring.rounds import ask_all
from wrn_deploy.progress import Progress, Silent
from wrn_deploy.spec import ModelSpec

__all__ = ["EvaluationJob", "evaluate_shard", "merge_evaluation", "merge_evaluation_shards"]

KIND, FORMAT = "evaluation", 1


def evaluate_shard(
    bundle: Bundle, options: MeasureOptions, block: Block, folder: Path, progress: Progress
) -> ShardResult:
    """Collects the answers of each candidate to one shard of the images, and writes them to a file in `folder`.

    Raises:
        UsageError: there are more shards than batches of images, or --limit with --max-corrupt.
        DeployError, MachineError: as `evaluate_bundle`.
    """
    check_writable(folder, "the shard's file")
    with EvaluationJob(folder=bundle.folder, options=options, count=block.count).start(bundle, progress) as worker:
        done = worker.run(block.index)
    assert done.result is not None
    file = shard_file(folder, KIND, block)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, done.result)
    return ShardResult(file=file, block=block, images=done.images, corrupt=done.corrupt)


def merge_evaluation(bundle: Bundle, options: MeasureOptions, paths: Sequence[Path], progress: Progress) -> Report:
    """Makes the report from the shards in files, or in folders of them.

    It is that of one pass over all images, in whatever order the shards come; the time, the environment and the memory
    are those of the merge and of the shards.

    Args:
        bundle: the bundle that was evaluated.
        options: `data` and `pictures`: the images whose class changed are looked up by name.
        paths: the shards.
        progress: shows progress and warnings.

    Raises:
        UsageError: there are no shards.
        DeployError: a shard is missing, doubled, damaged, or was evaluated with another bundle, data or options; or too
            many images are corrupt.
    """
    files = find_shard_files(paths, KIND)
    return merge_evaluation_shards(bundle, options, {str(file): file for file in files}, progress)


def merge_evaluation_shards(
    bundle: Bundle, options: MeasureOptions, shards: Mapping[str, Path | bytes], progress: Progress
) -> Report:
    """As `merge_evaluation`, of shards by name: files, or the results of an `EvaluationJob`."""
    source = open_labelled(bundle, options.data, progress)
    records = {name: _read_record(read_record(content, name), name) for name, content in shards.items()}
    names = check_shards({name: record.header for name, record in records.items()}, KIND)
    first = records[names[0]]
    recipe = first.recipe
    _check_bundle(bundle, recipe, names[0], len(source))
    for name in names[1:]:
        if records[name].reference != first.reference:
            raise DeployError(
                f"{name} compares with {records[name].reference}, and {names[0]} with {first.reference}: expected the "
                "same reference, which failed in one of them; run that shard again"
            )
    rows = _merge_rows([records[name].rows for name in names])
    answers = dict[str, Answers]()
    with progress.task(f"Merging {len(names)} shards", len(names)) as advance:
        for name in names:
            read = _read_answers(shards[name], name, bundle.spec)
            for row in (row for row in rows if not row.skipped):
                before = answers.get(row.name)
                answers[row.name] = read[row.name] if before is None else merge_answers(before, read[row.name])
            advance(1)
    measured = Measured(
        rows=rows,
        answers=answers,
        reference=first.reference,
        baseline=first.reference,
        machine=first.machine,
        versions=recipe.tools,
        settings=recipe.settings,
    )
    return report_of(bundle, measured, source, options.data, progress, pictures=options.pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationJob:
    """The shards of an evaluation as a job of `cluster`: the results are the contents of their files.

    Attributes:
        folder: the bundle's, which each machine opens.
        options: those of the evaluation; without `threads`, those of the worker count, and must be the same everywhere.
        count: the number of shards.
    """

    folder: Path
    options: MeasureOptions
    count: int

    def __post_init__(self) -> None:
        if self.count > 1 and self.options.limit is not None and self.options.max_corrupt != 0:
            raise UsageError(
                "--limit with --max-corrupt: expected one of them with --shard, since which images follow a corrupt "
                "one is not known to a single shard"
            )

    @property
    def title(self) -> str:
        """For progress."""
        return f"Accuracy in {self.count} shards"

    @property
    def shards(self) -> tuple[int, ...]:
        """All shards: none is kept from before."""
        return tuple(range(self.count))

    def describe(self, shard: int) -> str:
        """The name of a shard, for messages."""
        return f"evaluation shard {Block(index=shard, count=self.count)} of {Path(self.options.data).name}"

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[_EvaluationWorker]:
        """A worker whose candidates stay open."""
        options = dataclasses.replace(self.options, threads=self.options.threads or threads)
        job = dataclasses.replace(self, options=options)
        with job.start(Bundle.open(self.folder), Silent()) as worker:
            yield worker

    @contextlib.contextmanager
    def start(self, bundle: Bundle, progress: Progress) -> Iterator[_EvaluationWorker]:
        """The worker, with a process for each candidate of the bundle."""
        with contextlib.ExitStack() as stack:
            yield _EvaluationWorker(self, bundle, progress, stack)


class _EvaluationWorker:
    """Evaluates shards with candidates that stay open; one that fails is skipped from then on."""

    def __init__(self, job: EvaluationJob, bundle: Bundle, progress: Progress, stack: contextlib.ExitStack) -> None:
        options = job.options
        self._job, self._bundle, self._progress = job, bundle, progress
        self._available = len(open_labelled(bundle, options.data, progress))
        self._images = min(self._available, options.limit or self._available)
        self._together = images_together(bundle.spec)
        self._machine = describe_machine()
        self._settings = settings_of(options, self._machine)
        self._entries, self._named = examine_candidates(bundle, options)
        start_all(bundle, options, self._entries, self._settings, stack)

    def run(self, shard: int) -> Finished:
        """Collects the answers to the images of one shard."""
        begin = time.monotonic()
        block = Block(index=shard, count=self._job.count)
        ask_all(self._entries, len(block.of(self._images, self._together)), self._progress, block)
        check_measured(self._named)
        measured = gather(
            self._entries, baseline=None, machine=self._machine, versions=versions(), settings=self._settings
        )
        answers = next(iter(measured.answers.values()))
        return Finished(
            shard=shard,
            images=len(answers.labels),
            corrupt=answers.corrupt,
            seconds=time.monotonic() - begin,
            result=self._pack(block, measured),
        )

    def _pack(self, block: Block, measured: Measured) -> bytes:
        gpu = self._machine.gpu
        recipe = _Recipe(
            data=Path(self._job.options.data).name,
            available=self._available,
            images=self._images,
            together=self._together,
            spec=_spec_digest(self._bundle.spec),
            artifacts={row.name: row.sha256 or "" for row in measured.rows},
            settings=self._settings,
            tools=measured.versions,
            processor=processor_type(),
            gpu=None if gpu is None else f"{gpu.name}, driver {gpu.driver}",
        )
        answers = measured.answers
        first = next(iter(answers.values()))
        header = ShardHeader(
            kind=KIND,
            format=FORMAT,
            block=block,
            recipe=dataclasses.asdict(recipe),
            allowed=count_allowed(self._job.options.max_corrupt, self._images),
            corrupt=first.corrupt,
        )
        kept = {row.name: AnswerRecord.of(answers[row.name]) for row in measured.rows if row.name in answers}
        record = _Record(
            header=header, reference=measured.reference, machine=self._machine, rows=measured.rows, answers=kept
        )
        arrays: dict[str, Array] = {
            "labels": first.labels.astype(np.int64),
            "digests": np.frombuffer(b"".join(first.images), dtype=np.uint8).reshape(len(first.images), -1),
        }
        for row in measured.rows:
            if row.name in kept:
                arrays |= kept[row.name].arrays(answers[row.name], _array_name(row))
        return pack_arrays(dataclasses.asdict(record), arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """What must be the same in all shards; the data is named without its folder, which may be another elsewhere."""

    data: str
    available: int
    images: int
    together: int
    spec: str
    artifacts: Mapping[str, str]
    settings: Settings
    tools: Mapping[str, str]
    processor: Mapping[str, str]
    gpu: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The record in a shard's file."""

    header: ShardHeader
    reference: str | None
    machine: Machine
    rows: tuple[Row, ...]
    answers: Mapping[str, AnswerRecord]

    @property
    def recipe(self) -> _Recipe:
        """The recipe, as it was made."""
        return from_record(_Recipe, self.header.recipe, "its recipe")


def _array_name(row: Row) -> str:
    return f"{row.backend}-{row.precision}"


def _spec_digest(spec: ModelSpec) -> str:
    return hashlib.sha256(json.dumps(dataclasses.asdict(spec)).encode()).hexdigest()


def _read_record(record: Mapping[str, Any], name: str) -> _Record:
    found = from_record(_Record, record, f"the record of {name}")
    if found.header.format != FORMAT:
        raise DamagedFile(f"{name} has format {found.header.format}: expected {FORMAT}; run its shard again")
    ran = {row.name for row in found.rows if not row.skipped}
    if {row.name for row in found.rows} != found.recipe.artifacts.keys() or not ran <= found.answers.keys():
        raise DamagedFile(f"{name} has rows without answers: expected an intact shard; run its shard again")
    return found


def _read_answers(source: Path | bytes, name: str, spec: ModelSpec) -> dict[str, Answers]:
    """The answers of one shard, by the row's name."""
    read, arrays = read_arrays(source, name)
    record = _read_record(read, name)
    recipe, corrupt = record.recipe, record.header.corrupt
    try:
        answers = {
            row.name: answers_from(record.answers[row.name], arrays, _array_name(row), corrupt, spec.classes)
            for row in record.rows
            if not row.skipped
        }
    except DamagedFile as error:
        raise DamagedFile(f"{name} is damaged ({error}): expected an intact shard; run its shard again") from error
    expected = len(record.header.block.of(recipe.images, recipe.together))
    found = len(arrays["labels"]) + len(corrupt)
    if found != expected:
        raise DamagedFile(f"{name} has {found} images: expected the {expected} of its shard; run its shard again")
    return answers


def _check_bundle(bundle: Bundle, recipe: _Recipe, name: str, available: int) -> None:
    """Checks that the shards are of this bundle, and of the data that images are looked up in."""
    known = {artifact.sha256 for artifact in bundle.artifacts.values()} | {""}
    if recipe.spec != _spec_digest(bundle.spec) or not known >= {*recipe.artifacts.values()}:
        raise StaleArtifact(
            f"{name} was evaluated with another network than that of {bundle.folder}: expected shards of this bundle; "
            "run all shards again"
        )
    if recipe.available != available:
        raise DeployError(
            f"{name} is of {recipe.data} with {recipe.available} images, and --data has {available}: expected the same "
            "data"
        )


def _merge_rows(rows: Sequence[tuple[Row, ...]]) -> tuple[Row, ...]:
    """The rows of all shards: one that was skipped in some shard is skipped, and its memory is the largest."""

    def merged(one: Row, other: Row) -> Row:
        peaks = [row.peak_rss_bytes for row in (one, other) if row.peak_rss_bytes is not None]
        return dataclasses.replace(one, skipped=one.skipped or other.skipped, peak_rss_bytes=max(peaks, default=None))

    by_name = [{row.name: row for row in each} for each in rows]
    return tuple(functools.reduce(merged, (each[row.name] for each in by_name)) for row in rows[0])
