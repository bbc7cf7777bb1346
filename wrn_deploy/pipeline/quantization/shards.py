"""Calibration in shards: one machine collects from some of the images, and a merge makes what one pass would make."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.data.containers.array_file import pack_arrays, read_arrays, read_record
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.shard_set import ShardHeader, ShardResult, check_shards, find_shard_files, shard_file
from wrn_deploy.errors import DamagedFile, DeployError, StaleArtifact
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.record import from_record
from wrn_deploy.files.room import check_writable
from wrn_deploy.machine import processor_type
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.networks.checks import check_bundle_room
from wrn_deploy.pipeline.quantization.base_graph import unwrapped_file
from wrn_deploy.pipeline.quantization.calibrate import INT8_SHARE, CalibrationBase, find_base, request_calibration
from wrn_deploy.pipeline.quantization.collecting import Collector
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages, UsedImages, count_compared
from wrn_deploy.pipeline.quantization.writing import warn_of_replaced, write_calibration
from wrn_deploy.progress import Progress, Silent

if TYPE_CHECKING:
    from wrn_deploy.calib.collection.collected import Collected

__all__ = ["CalibrationJob", "calibrate_shard", "merge_calibration", "merge_calibration_shards"]

KIND, FORMAT = "calibration", 1


def calibrate_shard(
    bundle: Bundle, options: CalibrateOptions, block: Block, folder: Path, progress: Progress
) -> ShardResult:
    """Collects ranges and moments from one shard of the chosen images, and writes them to a file in `folder`.

    The file has exact integer histograms, extremes and sums, which `merge_calibration` merges; the bundle is unchanged.

    Raises:
        UsageError: there are more shards than images.
        DeployError: as `calibrate_bundle`.
    """
    check_writable(folder, "the shard's file")
    done = _CalibrationWorker(bundle, options, block.count, progress).run(block.index)
    assert done.result is not None
    file = shard_file(folder, KIND, block)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, done.result)
    return ShardResult(file=file, block=block, images=done.images, corrupt=done.corrupt)


def merge_calibration(
    bundle: Bundle, paths: Sequence[Path], progress: Progress, *, threads: int | None = None
) -> Artifact:
    """Makes table and int8 graphs from the shards in files, or in folders of them; returns the table's artifact.

    They are those of one pass over all images, bit for bit, in whatever order the shards come.

    Raises:
        UsageError: there are no shards.
        DeployError: a shard is missing, doubled, damaged, or was collected from another bundle, from other data or with
            other options; or too many images are corrupt.
    """
    files = find_shard_files(paths, KIND)
    return merge_calibration_shards(bundle, {str(file): file for file in files}, progress, threads=threads)


def merge_calibration_shards(
    bundle: Bundle, shards: Mapping[str, Path | bytes], progress: Progress, *, threads: int | None = None
) -> Artifact:
    """As `merge_calibration`, of shards by name: files, or the results of a `CalibrationJob`."""
    from wrn_deploy.calib.collection.collected import merge_collected

    records = {name: _read_record(read_record(source, name), name) for name, source in shards.items()}
    names = check_shards({name: record.header for name, record in records.items()}, KIND)
    recipe = from_record(_Recipe, records[names[0]].header.recipe, f"the recipe of {names[0]}")
    base = find_base(bundle, recipe.options.method)
    _check_recipe(bundle, base, recipe, names[0], progress)
    check_bundle_room(bundle, INT8_SHARE, "calibration")
    with progress.task(f"Merging {len(names)} shards", len(names)) as advance:
        blocks = (_read_shard(shards[name], name, recipe.chosen, advance) for name in names)
        collected = merge_collected(blocks, count_compared(bundle.spec.preprocessing))
    used = UsedImages(
        name=recipe.options.data, available=recipe.available, chosen=recipe.chosen, digests=collected.digests
    )
    corrupt = [name for record in records.values() for name in record.header.corrupt]
    if corrupt:
        progress.warn(f"the shards skipped {len(corrupt)} corrupt images of {used.name}: {', '.join(corrupt)}")
    asked = request_calibration(bundle, base, dataclasses.replace(recipe.options, threads=threads), used)
    if asked.current is not None:
        progress.note(f"{bundle.folder}: calibration table and int8 graphs are up to date")
        return asked.current
    warn_of_replaced(bundle, progress)
    return write_calibration(bundle, asked, collected, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationJob:
    """The shards of a calibration as a job of `cluster`: the results are the contents of their files.

    Attributes:
        folder: the bundle's, which each machine opens.
        options: those of the calibration.
        count: the number of shards.
    """

    folder: Path
    options: CalibrateOptions
    count: int

    @property
    def title(self) -> str:
        """For progress."""
        return f"Collecting ranges in {self.count} shards"

    @property
    def shards(self) -> tuple[int, ...]:
        """All shards: none is kept from before."""
        return tuple(range(self.count))

    def describe(self, shard: int) -> str:
        """The name of a shard, for messages."""
        return f"calibration shard {Block(index=shard, count=self.count)} of {Path(self.options.data).name}"

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[_CalibrationWorker]:
        """A worker that keeps the graph open."""
        options = dataclasses.replace(self.options, threads=threads)
        yield _CalibrationWorker(Bundle.open(self.folder), options, self.count, Silent())


class _CalibrationWorker:
    """Collects shards of one calibration, one after the other; surveys the first images once."""

    def __init__(self, bundle: Bundle, options: CalibrateOptions, count: int, progress: Progress) -> None:
        self._bundle, self._options, self._count, self._progress = bundle, options, count, progress
        self._base = find_base(bundle, options.method)
        self._collector: Collector | None = None

    def run(self, shard: int) -> Finished:
        """Collects from the images of one shard."""
        from threadpoolctl import threadpool_limits

        begin = time.monotonic()
        images = CalibrationImages(self._bundle, self._options, Block(index=shard, count=self._count))
        images.read(self._progress)
        with threadpool_limits(1, "blas"):
            if self._collector is None:
                with unwrapped_file(self._bundle.file(self._base.fp32), self._bundle.spec) as core:
                    self._collector = Collector.open(core, images, self._progress)
            needed = self._base.method.NEEDS_HISTOGRAM
            collected = self._collector.collect(images, histograms=needed, progress=self._progress)
        return Finished(
            shard=shard,
            images=len(images.digests),
            corrupt=images.corrupt,
            seconds=time.monotonic() - begin,
            result=_pack(self._bundle, self._base, images, collected),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """What must be the same in all shards; the data is named without its folder, which may be another elsewhere."""

    options: CalibrateOptions
    parents: Mapping[str, str]
    preprocessing: Mapping[str, Any]
    tools: Mapping[str, str]
    processor: Mapping[str, str]
    available: int
    chosen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The record in a shard's file."""

    header: ShardHeader
    survey: Mapping[str, Any]
    content: Mapping[str, Any]


def _pack(bundle: Bundle, base: CalibrationBase, images: CalibrationImages, collected: Collected) -> bytes:
    named = dataclasses.replace(images.options, data=images.used.name, threads=None, workers=None)
    recipe = _Recipe(
        options=named,
        parents=base.parents,
        preprocessing=dataclasses.asdict(bundle.spec.preprocessing),
        tools=base.tools,
        processor=processor_type(),
        available=images.available,
        chosen=images.chosen,
    )
    header = ShardHeader(
        kind=KIND,
        format=FORMAT,
        block=images.block,
        recipe=dataclasses.asdict(recipe),
        allowed=images.allowed,
        corrupt=images.corrupt,
    )
    survey, content = dataclasses.asdict(collected.survey), dataclasses.asdict(collected.content)
    record = _Record(header=header, survey=survey, content=content)
    return pack_arrays(dataclasses.asdict(record), collected.to_arrays())


def _read_record(record: Mapping[str, Any], name: str) -> _Record:
    found = from_record(_Record, record, f"the record of {name}")
    if found.header.format != FORMAT:
        raise DamagedFile(f"{name} has format {found.header.format}: expected {FORMAT}; run its shard again")
    return found


def _read_shard(source: Path | bytes, name: str, chosen: int, advance: Any) -> Collected:
    from wrn_deploy.calib.collection.collected import Collected, Content, Survey

    read, arrays = read_arrays(source, name)
    record = _read_record(read, name)
    try:
        survey = from_record(Survey, record.survey, "its survey")
        content = from_record(Content, record.content, "its content")
        collected = Collected.from_arrays(survey, content, arrays)
    except DamagedFile as error:
        raise DamagedFile(f"{name} is damaged ({error}): expected an intact shard; run its shard again") from error
    expected, found = len(record.header.block.of(chosen)), len(collected.digests) + len(record.header.corrupt)
    if found != expected:
        raise DamagedFile(f"{name} has {found} images: expected the {expected} of its shard; run its shard again")
    advance(1)
    return collected


def _check_recipe(bundle: Bundle, base: CalibrationBase, recipe: _Recipe, name: str, progress: Progress) -> None:
    """Checks that the shards are of this bundle, and that this machine makes of them what theirs would."""
    preprocessing = dataclasses.asdict(bundle.spec.preprocessing)
    if dict(recipe.parents) != base.parents or _plain(recipe.preprocessing) != _plain(preprocessing):
        raise StaleArtifact(
            f"{name} was collected from another network than that of {bundle.folder}: expected shards of this bundle; "
            "run all shards again"
        )
    changed = sorted({key for key, version in {*recipe.tools.items()} ^ {*base.tools.items()}})
    if changed:
        versions = ", ".join(f"{key} {recipe.tools.get(key)}, here {base.tools.get(key)}" for key in changed)
        raise DeployError(f"{name} was collected with other versions ({versions}): expected the same; merge with those")
    if dict(recipe.processor) != processor_type():
        progress.warn(
            f"the shards are from another type of CPU ({recipe.processor.get('cpu')}): the table is theirs, but "
            "weights are rounded here, which may differ in single codes from one pass there"
        )


def _plain(value: Any) -> Any:
    """Lists for tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
